"""What one host's kernel believes of a mounted folder: attribute and listing caches that lag.

As NFS and SMB clients do (nfs(5), acregmin, acdirmax, lookupcache): what was looked up, found or
not, is believed for a while, each name and the listing for itself; the host's own changes are seen
by itself at once.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from roundtrip.shares.port import Entry, SharedFolder
from roundtrip.testing.weather import failure


class View:
    """A lagging view; with a lag of 0 it is the truth."""

    def __init__(self, lag: float, dice: random.Random, clock: Callable[[], float]) -> None:
        self._lag = lag
        self._dice = dice
        self._clock = clock
        self._entries: dict[str, tuple[Entry | None, float]] = {}
        self._names: list[str] = []
        self._names_until = -1.0

    def _until(self) -> float:
        return self._clock() + self._dice.random() * self._lag

    async def stat(self, folder: SharedFolder, name: str) -> Entry | None:
        """What this host believes that `name` stands for."""
        if not self._lag:
            return await folder.stat(name)
        known = self._entries.get(name)
        if known is not None and self._clock() < known[1]:
            return known[0]
        entry = await folder.stat(name)
        self._entries[name] = (entry, self._until())
        return entry

    async def names(self, folder: SharedFolder) -> list[str]:
        """What this host believes to be there, in no order."""
        if not self._lag or self._clock() >= self._names_until:
            self._names = await folder.names()
            self._names_until = self._until()
        names = list(self._names)
        self._dice.shuffle(names)
        return names

    async def before_reading(self, folder: SharedFolder, name: str) -> None:
        """Fail as an open does that relies on what is believed.

        Raises:
            FileNotFoundError: the name is believed not to be there.
            OSError: it is believed to be there, but has gone (ESTALE).
        """
        if not self._lag:
            return
        if await self.stat(folder, name) is None:
            raise failure(errno.ENOENT)
        if await folder.stat(name) is None:
            self._entries.pop(name)
            raise failure(errno.ESTALE)

    def changed(self, name: str) -> None:
        """This host has changed `name` itself."""
        self._entries.pop(name, None)
        self._names_until = -1.0
