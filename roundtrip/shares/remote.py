"""The share on the other host's disk, as this host uses it: through a mount that may go or hang."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from roundtrip import mounts
from roundtrip.errors import ShareAway
from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.shares import assisted
from roundtrip.shares.assisted import AssistedFolder
from roundtrip.shares.calls import Helper
from roundtrip.shares.identity import FILE, Identity, identity_from
from roundtrip.shares.port import Entry, SharedFolder, Space
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.seal import Seal
from roundtrip.shares.verdicts import Hung, holds_share, of_share

Check = Callable[[Identity | None], Awaitable[None]]
"""Takes a share's identity, None if it has none; raises ShareError if it isn't the right one."""

OnTrouble = Callable[[OSError], None]


class RemoteFolder:
    """A folder of a mounted share: as `inner`, and each error says which share it is of."""

    def __init__(self, inner: SharedFolder, share: str, on_trouble: OnTrouble) -> None:
        self.label = inner.label
        self._inner = inner
        self._share = share
        self._on_trouble = on_trouble

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if holds_share(of_share(self._share, error)):
                self._on_trouble(error)
            raise

    async def names(self) -> list[str]:
        with self._noting():
            return await self._inner.names()

    async def stat(self, name: str) -> Entry | None:
        with self._noting():
            return await self._inner.stat(name)

    async def read(self, name: str, limit: int) -> bytes:
        with self._noting():
            return await self._inner.read(name, limit)

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        with self._noting():
            return await self._inner.put(name, source, durable=durable)

    async def remove(self, name: str) -> bool:
        with self._noting():
            return await self._inner.remove(name)

    async def space(self) -> Space:
        with self._noting():
            return await self._inner.space()


class RemoteShare:
    """A mounted share. Nothing can be done with it until `reopen` has found and verified it."""

    def __init__(self, path: Path, *, access: str, durable: bool, timeout: float) -> None:
        """`access` is auto, direct or helper; `timeout` how many seconds one call may take."""
        self.label = str(path)
        self.path = path
        self.on_trouble: OnTrouble = lambda error: None
        """Told of each error of a call that other calls on this share would have, too."""
        self._access = access
        self._durable = durable
        self._timeout = timeout
        self._folder: RemoteFolder | None = None
        self._internal: RemoteFolder | None = None
        self._direct: list[PosixFolder] = []
        self._helper: Helper | None = None
        self._former: Helper | None = None

    @property
    def helper_pid(self) -> int | None:
        """The helper process, if the share is used through one now."""
        return self._helper.pid if self._helper is not None else None

    async def reopen(self, check: Check) -> None:
        """Use what is at the path now, once `check` has accepted it; until then, nothing.

        Raises:
            ShareAway: there is nothing.
            ShareError: it is not the share it should be.
            Hung: it doesn't answer, or an earlier helper is still stuck in it.
            OSError: it can't be opened.
        """
        await self.close()
        await self._wait_for_the_former()
        try:
            await (self._open_assisted(check) if self._is_away() else self._open_directly(check))
        except BaseException:
            await self.close()
            raise

    def _is_away(self) -> bool:
        if self._access != "auto":
            return self._access == "helper"
        try:
            table = mounts.read()
        except FileNotFoundError:
            return False
        return mounts.leads_away(table, os.fspath(self.path))

    async def _wait_for_the_former(self) -> None:
        """The fence: what an abandoned helper had begun must not happen after its repetition."""
        if self._former is None:
            return
        if not await self._former.gone():
            raise Hung(self.label, self._former.hung_since or "it was closed")
        self._former = None

    async def _open_directly(self, check: Check) -> None:
        share = PosixFolder(self.path, durable=self._durable)
        self._direct.append(share)
        seal = Seal(share.descriptor, self.label, f"{INTERNAL_FOLDER}/{FILE}")
        await check(self._identity(seal.content))
        share.guard = seal.check
        internal = share.sub(INTERNAL_FOLDER)
        self._direct.append(internal)
        self._use(share, internal)

    async def _open_assisted(self, check: Check) -> None:
        helper = self._helper = Helper(self.label, self._timeout)
        await helper.begun()
        try:
            (content,) = await helper.call("open", self.label, INTERNAL_FOLDER, FILE)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ShareAway(f"{self.label}: {error.strerror}; is it mounted?") from error
        await check(self._identity(content))
        share = AssistedFolder(helper, assisted.SHARE, self.label, self._durable)
        label = os.path.join(self.label, INTERNAL_FOLDER)
        internal = AssistedFolder(helper, assisted.INTERNAL, label, self._durable)
        self._use(share, internal)

    def _identity(self, content: bytes | None) -> Identity | None:
        if content is None:
            return None
        return identity_from(content, os.path.join(self.label, INTERNAL_FOLDER, FILE))

    def _use(self, share: SharedFolder, internal: SharedFolder) -> None:
        self._folder = RemoteFolder(share, self.label, self._told)
        self._internal = RemoteFolder(internal, self.label, self._told)

    def _told(self, error: OSError) -> None:
        self.on_trouble(error)

    async def is_current(self) -> bool:
        """Whether the path still leads to what was verified, and answers."""
        if self._folder is None:
            return False
        if self._helper is None:
            return self._direct[0].is_current()
        try:
            return bool(await self._helper.call("is_current"))
        except OSError:
            return False

    def hurry(self, seconds: float) -> None:
        """From now on no call waits longer than this for a mount that hangs: the agent stops."""
        self._timeout = min(self._timeout, seconds)
        if self._helper is not None:
            self._helper.hurry(seconds)

    async def close(self) -> None:
        """Give everything back; a call that hangs is given up. Never blocks."""
        self._folder = self._internal = None
        for folder in self._direct:
            folder.close()
        self._direct.clear()
        if self._helper is not None:
            self._helper.close()
            self._former, self._helper = self._helper, None

    @property
    def internal(self) -> SharedFolder:
        """The share's internal folder.

        Raises:
            OSError: the share isn't open (ENOTCONN).
        """
        return self._opened(self._internal)

    @property
    def _open(self) -> RemoteFolder:
        return self._opened(self._folder)

    def _opened(self, folder: RemoteFolder | None) -> RemoteFolder:
        if folder is None:
            error = OSError(errno.ENOTCONN, "the share is not there", self.label)
            raise of_share(self.label, error)
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
