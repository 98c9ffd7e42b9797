"""What `roundtrip status` reports: read from the folders alone, with or without a running agent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

from roundtrip.config import Settings
from roundtrip.errors import ShareError
from roundtrip.glance import Glance, Look
from roundtrip.pace import Pace
from roundtrip.places import Places
from roundtrip.protocol.names import created_of, is_canary
from roundtrip.protocol.states import Role, State, other, state_of
from roundtrip.queues import Queue, queues
from roundtrip.roles.health import Severity, read_health
from roundtrip.roles.progress import newest_notes
from roundtrip.roles.side import Survey, survey
from roundtrip.roles.ticket import Restarts, exchange_of, restarts_in
from roundtrip.shares.heartbeat import Heartbeat, age, last_beat, skew
from roundtrip.shares.lock import holder_of
from roundtrip.shares.port import SharedFolder

_READ = 1000  # tickets that are read for a report, the oldest
_OPEN = frozenset({State.REQUESTED, State.ANSWERING})


class Report(TypedDict):
    """A snapshot; ages are in seconds, rates in exchanges a minute, by role.

    `progress` has what progress files say, and `rate` (records a second) and `left` (seconds).
    `attempts` has the exchanges that have failed and are tried again, the oldest first.
    `deliveries` has a summary of each queue (`queues.Queue.summary`).
    `conditions` is what the running agent says is wrong, worst first. `states` is None while a
    share can't be listed.
    """

    role: str
    root: str
    agent: dict[str, Any] | None
    conditions: list[dict[str, Any]]
    states: dict[str, int] | None
    oldest: dict[str, Any] | None
    folders: dict[str, int]
    rates: dict[str, float]
    peer: dict[str, Any] | None
    shares: dict[str, dict[str, Any]]
    progress: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    deliveries: list[dict[str, Any]]


class Surveyor:
    """Makes reports from one agent's folders; the second knows more of the pace than the first."""

    def __init__(self, settings: Settings) -> None:
        self._places = Places(settings)
        self._settings = settings
        self._paces: dict[str, Pace] = {}

    async def report(self) -> Report:
        """Look at everything once; a share that doesn't answer at once is reported as such."""
        places = self._places
        mine = self._agent()
        conditions = conditions_of(mine) if mine else []
        async with Glance(self._settings, _away(conditions)) as shares:
            states, oldest, progress = await self._exchanges(shares)
            peer = await self._peer(shares)
        return Report(
            role=places.role.value,
            root=str(self._settings.root),
            agent=mine,
            conditions=conditions,
            states=states,
            oldest=oldest,
            folders=self._folders(),
            rates=_rates(mine, peer and peer.fields),
            peer=peer and _about_peer(other(places.role), peer),
            shares={
                "unenriched": _share(places.unenriched, shares.unenriched),
                "enriched": _share(places.enriched, shares.enriched),
            },
            progress=progress,
            attempts=list(self._attempts()),
            deliveries=[await _summary(queue) for queue in queues(self._settings, places)],
        )

    async def _exchanges(
        self, shares: Glance
    ) -> tuple[dict[str, int] | None, dict[str, Any] | None, list[dict[str, Any]]]:
        unenriched, enriched = shares.unenriched, shares.enriched
        if unenriched.folder is None or enriched.folder is None:
            return None, None, []
        try:
            found = await survey(unenriched.folder, enriched.folder)
            progress = await self._progress(enriched.folder, found)
            oldest = await self._oldest(found, unenriched.folder)
        except OSError as error:  # It has hung or gone in this very moment.
            shares.blame(error)
            return None, None, []
        counts = dict.fromkeys((state.value for state in State if state is not State.ABSENT), 0)
        return counts | found.states(), oldest, progress

    async def _oldest(self, found: Survey, unenriched: SharedFolder) -> dict[str, Any] | None:
        """The exchange that was made first, and its age in seconds by this host's clock alone."""
        names = [each for each in found.exchanges if not is_canary(each)]
        dated = [(created, name) for name in names if (created := created_of(name))]
        if not dated:
            return None
        made, name = min(dated)
        if self._places.role is Role.RESPONDER:  # Its name has A's time, its file has ours.
            entry = await unenriched.stat(name)
            if entry is None:
                return {"exchange": name, "age": None}
            made = entry.changed / 1e9
        return {"exchange": name, "age": round(max(time.time() - made, 0.0), 1)}

    async def _progress(self, enriched: SharedFolder, found: Survey) -> list[dict[str, Any]]:
        """What the progress files of exchanges without an answer say, oldest exchange first."""
        open_ = {name for name, names in found.exchanges.items() if state_of(names) in _OPEN}
        notes = await newest_notes(enriched, found.progress, open_)
        self._paces = {exchange: self._paces.get(exchange) or Pace() for exchange in notes}
        return [self._paces[exchange].told(notes[exchange]) for exchange in sorted(notes)]

    def _attempts(self) -> Iterator[dict[str, Any]]:
        if self._places.role is Role.RESPONDER:
            return
        for path in islice(sorted(_listed(self._places.tickets)), _READ):
            exchange = exchange_of(path.name)
            if exchange is not None and (again := restarts_in(path)):
                yield {"exchange": exchange, **about_restarts(again)}

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

    async def _peer(self, shares: Glance) -> Heartbeat | None:
        """The other side's life sign: it lies on this host's own disk."""
        role = self._places.role
        look = shares.enriched if role is Role.REQUESTER else shares.unenriched
        try:
            return None if look.internal is None else await last_beat(look.internal, other(role))
        except OSError as error:
            look.health = str(error)
            return None

    def _agent(self) -> dict[str, Any] | None:
        """What the running agent says of itself; None if none runs."""
        holder = holder_of(self._places.lock)
        if holder is None:
            return None
        try:
            running: dict[str, Any] = json.loads(holder)
        except ValueError:
            running = {"holder": holder}
        return running | read_health(self._places.health)


async def _summary(queue: Queue) -> dict[str, Any]:
    """What is in a queue; numbers are None where this user may not look."""
    try:
        return await queue.summary()
    except (OSError, ShareError) as error:
        unknown = dict.fromkeys(("due", "failing", "dead", "oldest", "exchange"))
        about = {"delivery": queue.name, "configured": queue.is_known, "error": str(error)}
        return {**about, **unknown}


def conditions_of(agent: dict[str, Any]) -> list[dict[str, Any]]:
    """What the agent says is wrong, worst first."""
    order = [severity.value for severity in reversed(Severity)]
    found = agent.get("conditions", [])
    return sorted(found, key=lambda condition: order.index(condition["severity"]))


def _away(conditions: list[dict[str, Any]]) -> dict[str, str]:
    """The shares that the agent waits for already, by name, and why."""
    prefix = "share."
    return {
        condition["key"].removeprefix(prefix): f"{condition['text']} (since {condition['since']})"
        for condition in conditions
        if condition["key"].startswith(prefix)
    }


def _share(path: Path, look: Look) -> dict[str, Any]:
    identity = look.identity
    return {
        "path": str(path),
        "id": identity and identity.id,
        "home": identity and identity.home.value,
        "health": look.health,
    }


def _rates(*signs: dict[str, Any] | None) -> dict[str, float]:
    """Exchanges a minute by role, as each agent's last heartbeat told them."""
    return {
        str(sign.get("role")): float(sign["per_minute"])
        for sign in signs
        if sign and isinstance(sign.get("per_minute"), int | float)
    }


def _about_peer(role: Role, sign: Heartbeat) -> dict[str, Any]:
    """What the other side said of itself, how long ago, and how far its clock is ahead of ours."""
    ahead, seconds = skew(sign), age(sign, time.time())
    return {
        "role": role.value,
        **sign.fields,
        "age": None if seconds is None else round(seconds, 1),
        "skew": None if ahead is None else round(ahead, 1),
    }


def about_restarts(again: Restarts) -> dict[str, Any]:
    """What JSON says of attempts; `next` is Unix time, when the next one is or was made."""
    return {"failed": again.used, "attempts": again.attempts, "reason": again.why,
            "next": again.until}  # fmt: skip


def _listed(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _count(path: Path) -> int:
    try:
        names = (entry.name for entry in path.iterdir())
        return sum(1 for name in names if not name.startswith(".") and not is_canary(name))
    except OSError:
        return 0
