"""Folders on a POSIX file system: the only code that writes, renames or removes files.

Everything is relative to an open descriptor of the folder, so that a mount that goes away or comes
on top can't send a write to another place than the one that was checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from roundtrip.errors import ShareError
from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares.group_sync import GroupSync
from roundtrip.shares.port import SMALL, Entry, Folder, Kind, NotAFile, Payload, Space

_CHUNK = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1  # linux/fs.h


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER


def _entry(found: os.stat_result) -> Entry:
    return Entry(_kind(found.st_mode), found.st_size, found.st_mtime_ns)


class PosixFolder:
    """A folder on a file system.

    `durable=True` makes every put, write and move reach the disk before it returns (`durability:
    full`); otherwise only those that ask for it do. Folders that share a `group` sync together.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        group: GroupSync | None = None,
        parent: tuple[int, str] | None = None,
    ) -> None:
        self.label = str(path)
        self.path = path
        self._durable = durable
        self._group = group or GroupSync()
        self._fd = -1
        self._open_at(parent)

    def open_folder(self) -> None:
        """Open the folder again, by its path: after the folder was replaced.

        Raises:
            ShareError: it isn't there, isn't a folder, or can't be opened.
        """
        self._open_at(None)

    def _open_at(self, parent: tuple[int, str] | None) -> None:
        above, name = parent or (None, self.path)
        try:
            opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
        except OSError as error:
            raise ShareError(f"{self.label}: {error.strerror}; is it mounted?") from error
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
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        opened = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)

    def sub(self, name: str) -> PosixFolder:
        return PosixFolder(
            self.path / name, durable=self._durable, group=self._group, parent=(self._fd, name)
        )

    async def names(self) -> list[str]:
        return await asyncio.to_thread(os.listdir, self._fd)

    async def stat(self, name: str) -> Entry | None:
        try:
            found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return _entry(found)

    def _open(self, name: str) -> tuple[int, os.stat_result]:
        # Look before opening: opening some devices has effects, O_NONBLOCK or not.
        found = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            opened = os.open(name, _READ, dir_fd=self._fd)
            found = os.fstat(opened)
            if stat.S_ISREG(found.st_mode):
                return opened, found
            os.close(opened)
        raise NotAFile(f"{self.label}/{name!a}: not a regular file")

    async def read(self, name: str, limit: int) -> bytes:
        opened, found = self._open(name)
        try:
            return _read_up_to(opened, min(found.st_size, limit) + 1)
        finally:
            os.close(opened)

    async def open(self, name: str) -> Payload:
        opened, found = self._open(name)
        try:
            if found.st_size <= SMALL:
                content = _read_up_to(opened, found.st_size + 1)
                if len(content) == found.st_size:
                    return Payload(_entry(found), content)
            return Payload(_entry(found), None, os.fdopen(os.dup(opened), "rb", buffering=0))
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
        opened, _ = self._open(name)
        try:
            return _has_writer(opened)
        finally:
            os.close(opened)

    def create(self, name: str) -> BinaryIO:
        return os.fdopen(os.open(name, _CREATE | os.O_TRUNC, 0o666, dir_fd=self._fd), "wb")

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        with self._part(name) as part:
            digest = await self._fill(part, os.O_EXCL, source, durable)
            self._rename(part, self._fd, name)
        if durable or self._durable:
            os.fsync(self._fd)
        return digest

    async def replace(self, name: str, content: bytes) -> None:
        with self._part(name) as part:
            await self._fill(part, os.O_EXCL, content, durable=True)
            os.rename(part, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        os.fsync(self._fd)

    @contextlib.contextmanager
    def _part(self, name: str) -> Iterator[str]:
        """An in-flight name for `name`; nothing is left behind it if the body fails."""
        part = part_of(name)
        try:
            yield part
        except BaseException:
            # The first error is the one to tell.
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=self._fd)
            raise

    async def write(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        return await self._fill(name, os.O_TRUNC, source, durable)

    async def _fill(self, name: str, flags: int, source: bytes | BinaryIO, durable: bool) -> Digest:
        durable = durable or self._durable
        if not isinstance(source, bytes):
            return await asyncio.to_thread(self._fill_from_file, name, flags, source, durable)
        opened = os.open(name, _CREATE | flags, 0o666, dir_fd=self._fd)
        with _closing(opened):
            digest = _write_bytes(opened, source)
            if durable:
                await self._group.sync(opened)
        return digest

    def _fill_from_file(self, name: str, flags: int, source: BinaryIO, durable: bool) -> Digest:
        # In one thread from open to close: a cancelled caller must not close what is written to.
        opened = os.open(name, _CREATE | flags, 0o666, dir_fd=self._fd)
        with _closing(opened):
            digest = _copy_file(opened, source)
            if durable:
                os.fsync(opened)
        return digest

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        assert isinstance(to, PosixFolder)
        self._rename(name, to._fd, new_name)
        if durable or self._durable:
            await self._group.sync(to._fd)

    def _rename(self, name: str, target: int, new_name: str) -> None:
        try:
            rename_without_replacing(self._fd, name, target, new_name)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            # This file system can't refuse by itself (FUSE, SMB, NFS): look first. Names on shares
            # have one writer, so nobody comes in between.
            _rename_after_looking(self._fd, name, target, new_name)

    async def remove(self, name: str) -> bool:
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    async def space(self) -> Space:
        found = os.fstatvfs(self._fd)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


@contextlib.contextmanager
def _closing(opened: int) -> Iterator[None]:
    """Close a written file; over NFS, errors of earlier writes are told by close(2)."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # The first error is the one to tell.
            os.close(opened)
        raise
    os.close(opened)


def _has_writer(opened: int) -> bool | None:
    """Ask for a read lease (fcntl(2)): the kernel refuses it while anybody could still write."""
    try:
        # A writer that comes while we hold the lease makes the kernel signal us; SIGURG, unlike the
        # default SIGIO, is ignored by default.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EAGAIN is the answer; anything else (another user's file, a file system without leases)
        # means that there is no way to ask.
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _read_up_to(opened: int, limit: int) -> bytes:
    """Everything up to `limit` bytes; one read where the file is as long as it was said to be."""
    pieces = []
    while limit and (piece := os.read(opened, limit)):
        pieces.append(piece)
        limit -= len(piece)
        if limit <= 1:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_bytes(opened: int, content: bytes) -> Digest:
    view = memoryview(content)
    while view:
        view = view[os.write(opened, view) :]
    return Digest(len(content), hashlib.sha256(content).hexdigest())


def _copy_file(opened: int, source: BinaryIO) -> Digest:
    digest, size, limit = hashlib.sha256(), 0, _limit_of(source)
    while piece := source.read(min(_CHUNK, limit - size)):
        digest.update(piece)
        size += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(opened, view) :]
    return Digest(size, digest.hexdigest())


def _limit_of(source: BinaryIO) -> int:
    """How much to read: of a file, what is there now, since somebody may let it grow for ever."""
    try:
        found = os.fstat(source.fileno())
    except (AttributeError, OSError):  # Not backed by a descriptor.
        return sys.maxsize
    return found.st_size if stat.S_ISREG(found.st_mode) else sys.maxsize


def _rename_after_looking(source: int, name: str, target: int, new_name: str) -> None:
    try:
        os.stat(new_name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)


_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2


def rename_without_replacing(source: int, name: str, target: int, new_name: str) -> None:
    """renameat2(2) with RENAME_NOREPLACE, which Python's `os` doesn't offer.

    Args are the descriptors of the two folders and the two names.

    Raises:
        FileExistsError: `new_name` is taken.
        OSError: as renameat2(2); EINVAL where the file system can't do it.
    """
    old, new = os.fsencode(name), os.fsencode(new_name)
    if _renameat2(source, old, target, new, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name, None, new_name)
