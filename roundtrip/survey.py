"""What `roundtrip status` reports: read from the folders alone, with or without a running agent."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

from roundtrip.config import Settings
from roundtrip.errors import ShareError
from roundtrip.pace import Pace
from roundtrip.places import Places
from roundtrip.protocol.names import INTERNAL_FOLDER, created_of
from roundtrip.protocol.states import Role, State, state_of
from roundtrip.roles.progress import newest_notes
from roundtrip.roles.side import Survey, survey
from roundtrip.shares.heartbeat import Heartbeat, last_beat
from roundtrip.shares.identity import identity_of
from roundtrip.shares.lock import holder_of
from roundtrip.shares.posix import PosixFolder

_OPEN = frozenset({State.REQUESTED, State.ANSWERING})


class Report(TypedDict):
    """A snapshot; ages are in seconds, rates in exchanges a minute, by role.

    `progress` has what progress files say, and `rate` (records a second) and `left` (seconds).
    """

    role: str
    root: str
    agent: dict[str, Any] | None
    states: dict[str, int]
    oldest: dict[str, Any] | None
    folders: dict[str, int]
    rates: dict[str, float]
    peer: dict[str, Any] | None
    shares: dict[str, dict[str, Any]]
    progress: list[dict[str, Any]]


class Surveyor:
    """Makes reports from one agent's folders; the second knows more of the pace than the first."""

    def __init__(self, settings: Settings) -> None:
        self._places = Places(settings)
        self._settings = settings
        self._paces: dict[str, Pace] = {}

    async def report(self) -> Report:
        """Look at everything once."""
        places = self._places
        shares = {
            "unenriched": await self._share(places.unenriched, "unenriched"),
            "enriched": await self._share(places.enriched, "enriched"),
        }
        states, oldest, progress = await self._exchanges(shares)
        mine, peer = await self._heartbeats()
        return Report(
            role=places.role.value,
            root=str(self._settings.root),
            agent=self._agent(mine),
            states=states,
            oldest=oldest,
            folders=self._folders(),
            rates=_rates(mine, peer),
            peer=peer and {"role": _other(places.role).value, **peer.fields, "age": _age(peer)},
            shares=shares,
            progress=progress,
        )

    async def _share(self, path: Path, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"path": str(path), "id": None, "home": None, "health": "ok"}
        try:
            with closing(PosixFolder(path)) as folder:
                identity = await identity_of(folder)
        except (ShareError, OSError) as error:
            found["health"] = str(error)
            return found
        if identity is None:
            found["health"] = "not a share: no identity; mounted? initialised?"
        else:
            found |= {"id": identity.id, "home": identity.home.value}
            pin = self._places.pins / f"{name}.share"
            if pin.exists() and pin.read_text() != identity.id:
                found["health"] = f"another share than before ({pin.read_text()})"
        return found

    async def _exchanges(
        self, shares: dict[str, dict[str, Any]]
    ) -> tuple[dict[str, int], dict[str, Any] | None, list[dict[str, Any]]]:
        counts = dict.fromkeys((state.value for state in State if state is not State.ABSENT), 0)
        if any(share["id"] is None for share in shares.values()):
            return counts, None, []
        with (
            closing(PosixFolder(self._places.unenriched)) as unenriched,
            closing(PosixFolder(self._places.enriched)) as enriched,
        ):
            found = await survey(unenriched, enriched)
            progress = await self._progress(enriched, found)
        counts |= found.states()
        exchanges = found.exchanges
        dated = [(created, name) for name in exchanges if (created := created_of(name))]
        if not dated:
            return counts, None, progress
        created, name = min(dated)
        oldest = {"exchange": name, "age": round(time.time() - created, 1)}
        return counts, oldest, progress

    async def _progress(self, enriched: PosixFolder, found: Survey) -> list[dict[str, Any]]:
        """What the progress files of exchanges without an answer say, oldest exchange first."""
        open_ = {name for name, names in found.exchanges.items() if state_of(names) in _OPEN}
        notes = await newest_notes(enriched, found.progress, open_)
        self._paces = {exchange: self._paces.get(exchange) or Pace() for exchange in notes}
        return [self._paces[exchange].told(notes[exchange]) for exchange in sorted(notes)]

    def _folders(self) -> dict[str, int]:
        places = self._places
        paths = {"quarantine": places.quarantine, "kept": places.kept}
        if places.role is Role.REQUESTER:
            paths = {
                "outbox": places.outbox,
                "submitted": places.submit,
                "pending": places.pending,
                "closing": places.closing,
                "inbox": places.inbox,
                "failed": places.failed,
            }
        return {name: _count(path) for name, path in paths.items()}

    async def _heartbeats(self) -> tuple[Heartbeat | None, Heartbeat | None]:
        found: dict[Role, Heartbeat | None] = {}
        written = {
            Role.REQUESTER: self._places.unenriched,
            Role.RESPONDER: self._places.enriched,
        }
        for role, path in written.items():
            try:
                with closing(PosixFolder(path / INTERNAL_FOLDER)) as internal:
                    found[role] = await last_beat(internal, role)
            except (ShareError, OSError):
                found[role] = None  # The share's own line says what is wrong with it.
        return found[self._places.role], found[_other(self._places.role)]

    def _agent(self, mine: Heartbeat | None) -> dict[str, Any] | None:
        holder = holder_of(self._places.lock)
        if holder is None:
            return None
        try:
            running: dict[str, Any] = json.loads(holder)
        except ValueError:
            running = {"holder": holder}
        return running | (mine.fields if mine else {})


def _rates(*signs: Heartbeat | None) -> dict[str, float]:
    """Exchanges a minute by role, as each agent's last heartbeat told them."""
    return {
        str(sign.fields.get("role")): float(sign.fields["per_minute"])
        for sign in signs
        if sign and isinstance(sign.fields.get("per_minute"), int | float)
    }


def _other(role: Role) -> Role:
    return Role.RESPONDER if role is Role.REQUESTER else Role.REQUESTER


def _age(sign: Heartbeat) -> float | None:
    """Seconds since a life sign was made, by the maker's clock against ours."""
    try:
        return round(time.time() - datetime.fromisoformat(sign.time).timestamp(), 1)
    except ValueError:
        return None


def _count(path: Path) -> int:
    try:
        return sum(1 for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError:
        return 0
