"""The two shares as a command looks at them: a mount that hangs is told of, not waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from roundtrip.config import Settings
from roundtrip.errors import ShareError
from roundtrip.places import Places
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.protocol.states import Role
from roundtrip.shares.identity import Identity, ShareName, identify, pinned_id
from roundtrip.shares.port import SharedFolder
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.remote import RemoteShare

PATIENCE = 0.5  # seconds that one call on the mounted share may take


@dataclass(slots=True)
class Look:
    """What was found at a share's path: `folder` if it can be used, and `health`, ok or why not."""

    folder: SharedFolder | None = None
    internal: SharedFolder | None = None
    identity: Identity | None = None
    health: str = "ok"


class Glance:
    """Both shares, open for a moment. A context manager; it changes nothing on them."""

    def __init__(self, settings: Settings, away: Mapping[str, str] | None = None) -> None:
        """`away` says of shares, by name, why they aren't worth a look: the agent knows it."""
        self._places = Places(settings)
        self._settings = settings
        self._away = away or {}
        self.unenriched = Look()
        self.enriched = Look()
        self._local: list[PosixFolder] = []
        self._remote: RemoteShare | None = None

    async def __aenter__(self) -> Self:
        asks = self._places.role is Role.REQUESTER
        local, remote = (self.enriched, self.unenriched)
        if not asks:
            local, remote = remote, local
        await self._look_here(local, "enriched" if asks else "unenriched")
        await self._look_there(remote, "unenriched" if asks else "enriched")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for folder in self._local:
            folder.close()
        if self._remote is not None:
            await self._remote.close()

    def blame(self, error: OSError) -> None:
        """A call failed after all: the mounted share is the one that can fail at any time."""
        asks = self._places.role is Role.REQUESTER
        (self.unenriched if asks else self.enriched).health = str(error)

    async def _look_here(self, look: Look, name: ShareName) -> None:
        try:
            folder = PosixFolder(self._places.home)
            self._local.append(folder)
            internal = folder.sub(INTERNAL_FOLDER)
            self._local.append(internal)
            await self._judge(look, name, await identify(internal))
        except (ShareError, OSError) as error:
            look.health = str(error)
            return
        look.folder, look.internal = folder, internal

    async def _look_there(self, look: Look, name: ShareName) -> None:
        if name in self._away:
            look.health = self._away[name]
            return
        path = self._places.away
        access = getattr(self._settings.shares, f"{name}_access")
        share = self._remote = RemoteShare(path, access=access, durable=False, timeout=PATIENCE)

        async def check(identity: Identity | None) -> None:
            await self._judge(look, name, identity)

        try:
            await share.reopen(check)
        except (ShareError, OSError) as error:
            look.health = str(error)
            return
        look.folder, look.internal = share, share.internal

    async def _judge(self, look: Look, name: ShareName, identity: Identity | None) -> None:
        if identity is None:
            raise ShareError("not a share: no identity; mounted? initialised?")
        look.identity = identity
        if not self._places.pins.is_dir():
            return
        pins = PosixFolder(self._places.pins)
        self._local.append(pins)
        pinned = await pinned_id(pins, name)
        if pinned not in (None, identity.id):
            look.health = f"another share than before ({pinned})"
