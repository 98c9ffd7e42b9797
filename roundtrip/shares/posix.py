"""Folders that the event loop works on itself, by the calls of files.py and writing.py.

Small files are done on the loop, since threads were measured slower; only the bytes of large ones
are moved by threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from roundtrip.errors import ShareAway, ShareError
from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares import files, writing
from roundtrip.shares.entry import Entry, Space
from roundtrip.shares.group_sync import GroupSync
from roundtrip.shares.port import SMALL, Folder, Listed, Payload
from roundtrip.shares.threads import Check, in_thread


class PosixFolder:
    """A folder on a file system.

    `durable=True` makes every put, write and move reach the disk before it returns (`durability:
    full`); otherwise only those that ask for it do. Folders that share a `group` sync together.
    `guard` is called before every put, and refuses it by raising OSError.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        group: GroupSync | None = None,
        parent: tuple[int, str] | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.label = str(path)
        self.path = path
        self.guard = guard
        self._durable = durable
        self._group = group or GroupSync()
        self._fd = -1
        self._open_at(parent)

    @property
    def descriptor(self) -> int:
        """The open folder's descriptor, -1 if it was closed."""
        return self._fd

    def open_folder(self) -> None:
        """Open the folder again, by its path: after the folder was replaced.

        Raises:
            ShareError: it isn't there, isn't a folder, or can't be opened.
        """
        self._open_at(None)

    def _open_at(self, parent: tuple[int, str] | None) -> None:
        above, name = parent or (None, self.path)
        try:
            opened = files.open_folder(name, above)
        except OSError as error:
            raise ShareAway(f"{self.label}: {error.strerror}; is it mounted?") from error
        self.close()
        self._fd = opened

    def take_over(self, other: PosixFolder) -> None:
        """Go on with the folder that `other` has opened; `other` is closed by this."""
        self.close()
        self._fd, other._fd = other._fd, -1

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_current(self) -> bool:
        """Whether the path still leads to the folder that was opened."""
        return files.leads_to(self.path, self._fd)

    def sub(self, name: str) -> PosixFolder:
        return PosixFolder(
            self.path / name,
            durable=self._durable,
            group=self._group,
            parent=(self._fd, name),
            guard=self.guard,
        )

    async def names(self) -> list[str]:
        return await asyncio.to_thread(files.names, self._listable())

    def _listable(self) -> int:
        """The descriptor; where it is closed, Python would list the working directory instead."""
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.label)
        return self._fd

    def scan(self) -> Iterator[Listed]:
        with os.scandir(self._listable()) as entries:
            for entry in entries:
                try:
                    # By its type in the listing: a stat of a mount point may hang.
                    if not entry.is_file(follow_symlinks=False):
                        continue
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # It went meanwhile.
                if stat.S_ISREG(found.st_mode):
                    yield Listed(entry.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    async def stat(self, name: str) -> Entry | None:
        return files.look(self._fd, name)

    async def read(self, name: str, limit: int) -> bytes:
        return files.read(self._fd, name, limit, self.label)

    async def open(self, name: str) -> Payload:
        opened, found = files.open_file(self._fd, name, self.label)
        try:
            entry = files.entry_of(found)
            if found.st_size <= SMALL:
                content = files.read_up_to(opened, found.st_size + 1)
                if len(content) == found.st_size:
                    return Payload(entry, content)
            return Payload(entry, None, os.fdopen(os.dup(opened), "rb", buffering=0))
        finally:
            os.close(opened)

    async def renew(self) -> None:
        if self.is_current():
            return
        try:
            self.open_folder()
        except ShareError as error:
            raise FileNotFoundError(errno.ENOENT, str(error), self.label) from error

    async def is_being_written(self, name: str) -> bool | None:
        opened, _ = files.open_file(self._fd, name, self.label)
        try:
            return files.has_writer(opened)
        finally:
            os.close(opened)

    def create(self, name: str) -> BinaryIO:
        return writing.create(self._fd, name)

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        durable = durable or self._durable
        part = part_of(name)
        if isinstance(source, bytes):
            if self.guard is not None:
                self.guard()
            return await self._put_bytes(part, name, source, durable)
        return await in_thread(lambda check: self._put_file(part, name, source, durable, check))

    async def _put_bytes(self, part: str, name: str, content: bytes, durable: bool) -> Digest:
        with writing.removed_on_failure(self._fd, part):
            with writing.new_part(self._fd, part) as opened:
                digest = await self._fill(opened, content, durable)
                made = os.fstat(opened)
            writing.rename(self._fd, part, self._fd, name, made)
        if durable:
            os.fsync(self._fd)
        return digest

    def _put_file(
        self, part: str, name: str, source: BinaryIO, durable: bool, check: Check
    ) -> Digest:
        if self.guard is not None:
            self.guard()
        pieces = writing.pieces_of(source)
        between = _checking(check)
        with self._held() as folder:
            found = writing.put(folder, part, name, pieces, durable=durable, between=between)
        return Digest(*found)

    async def replace(self, name: str, content: bytes) -> None:
        part = part_of(name)
        with writing.removed_on_failure(self._fd, part):
            with writing.new_part(self._fd, part) as opened:
                await self._fill(opened, content, durable=True)
            writing.replace(self._fd, part, name)
        os.fsync(self._fd)

    def overwrite(self, name: str, content: bytes) -> None:
        """See `writing.overwrite`."""
        writing.overwrite(self._fd, name, content)

    async def write(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        durable = durable or self._durable
        if not isinstance(source, bytes):
            return await in_thread(lambda check: self._write_file(name, source, durable, check))
        with writing.emptied(self._fd, name) as opened:
            return await self._fill(opened, source, durable)

    def _write_file(self, name: str, source: BinaryIO, durable: bool, check: Check) -> Digest:
        with self._held() as folder, writing.emptied(folder, name) as opened:
            found = writing.copy(opened, writing.pieces_of(source), _checking(check))
            if durable:
                os.fsync(opened)
        return Digest(*found)

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        """A descriptor of the folder for a thread, which may outlive ours and its number."""
        held = os.dup(self._fd)
        try:
            yield held
        finally:
            os.close(held)

    async def _fill(self, opened: int, content: bytes, durable: bool) -> Digest:
        writing.write_all(opened, content)
        digest = Digest(len(content), hashlib.sha256(content).hexdigest())
        if durable:
            await self._group.sync(opened)
        return digest

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        assert isinstance(to, PosixFolder)
        moved = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        writing.rename(self._fd, name, to._fd, new_name, moved)
        if durable or self._durable:
            await self._group.sync(to._fd)

    async def link(self, name: str, to: Folder, new_name: str) -> None:
        assert isinstance(to, PosixFolder)
        os.link(name, new_name, src_dir_fd=self._fd, dst_dir_fd=to._fd, follow_symlinks=False)

    async def remove(self, name: str) -> bool:
        return writing.remove(self._fd, name)

    async def space(self) -> Space:
        return files.space(self._fd)


def _checking(check: Check) -> writing.Between:
    return lambda opened, size: check()
