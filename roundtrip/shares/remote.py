"""The share on the other host's disk, as this host uses it: through a mount that may go or hang."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.shares.identity import Identity, identity_of
from roundtrip.shares.port import Entry, SharedFolder, Space
from roundtrip.shares.posix import PosixFolder

Check = Callable[[Identity | None], Awaitable[None]]
"""Takes a share's identity, None if it has none; raises ShareError if it isn't the right one."""


class RemoteShare:
    """A mounted share. Nothing can be done with it until `reopen` has found and verified it."""

    def __init__(self, path: Path, *, access: str, durable: bool, timeout: float) -> None:
        """`access` is auto, direct or helper; `timeout` how many seconds one call may take."""
        self.label = str(path)
        self.path = path
        self._durable = durable
        self._folder: PosixFolder | None = None
        self._internal: PosixFolder | None = None

    async def reopen(self, check: Check) -> None:
        """Use what is at the path now, once `check` has accepted it; until then, nothing.

        Raises:
            ShareError: there is nothing, or it is not the share it should be.
        """
        await self.close()
        folder = PosixFolder(self.path, durable=self._durable)
        try:
            await check(await identity_of(folder))
            self._internal = folder.sub(INTERNAL_FOLDER)
        except BaseException:
            folder.close()
            raise
        self._folder = folder

    async def is_current(self) -> bool:
        """Whether the path still leads to what was verified."""
        return self._folder is not None and self._folder.is_current()

    def hurry(self, seconds: float) -> None:
        """From now on no call waits longer than this for a mount that hangs: the agent stops."""

    async def close(self) -> None:
        """Give everything back; a call that hangs is given up."""
        for folder in (self._folder, self._internal):
            if folder is not None:
                folder.close()
        self._folder = self._internal = None

    @property
    def internal(self) -> SharedFolder:
        """The share's internal folder.

        Raises:
            OSError: the share isn't open (ENOTCONN).
        """
        return self._opened(self._internal)

    @property
    def _open(self) -> PosixFolder:
        return self._opened(self._folder)

    def _opened(self, folder: PosixFolder | None) -> PosixFolder:
        if folder is None:
            raise OSError(errno.ENOTCONN, "the share is not there", self.label)
        return folder

    async def names(self) -> list[str]:
        return await self._open.names()

    async def stat(self, name: str) -> Entry | None:
        return await self._open.stat(name)

    async def read(self, name: str, limit: int) -> bytes:
        return await self._open.read(name, limit)

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        return await self._open.put(name, source, durable=durable)

    async def remove(self, name: str) -> bool:
        return await self._open.remove(name)

    async def space(self) -> Space:
        return await self._open.space()
