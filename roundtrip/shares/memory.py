"""Folders in memory: the shipped fake, which can be told to crash at any mutating operation.

A `MemoryDisk` is what survives a crash; a run of the roles on top of it is what doesn't.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import BinaryIO

from roundtrip.errors import ShareError
from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares.port import SMALL, Entry, Folder, Kind, Listed, Payload, Space

Guard = Callable[[str, str], Awaitable[None]]
"""Awaited with a moment, `before` or `after` a mutation or at a `look`, and the operation."""


async def _unguarded(moment: str, operation: str) -> None:
    """The guard that lets everything pass."""


class MemoryDisk:
    """The contents of any number of folders, and the guard that sees every operation."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.guard: Guard = _unguarded
        self.space = Space(2**40, 2**41)
        self._clock = count(1)
        self.changed: dict[tuple[str, str], int] = {}

    def folder(self, label: str) -> MemoryFolder:
        """The folder of this label, made if it isn't there."""
        self.files.setdefault(label, {})
        return MemoryFolder(self, label)

    def touch(self, label: str, name: str) -> None:
        """Note that a file changed, in ticks of this disk's own clock."""
        self.changed[label, name] = next(self._clock)


class MemoryFolder:
    """One folder of a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk, label: str) -> None:
        self.label = label
        self._disk = disk

    @property
    def _files(self) -> dict[str, bytes]:
        return self._disk.files[self.label]

    def sub(self, name: str) -> MemoryFolder:
        label = f"{self.label}/{name}"
        if label not in self._disk.files:
            raise ShareError(f"{label}: no such folder") from _not_found(name)
        return MemoryFolder(self._disk, label)

    async def names(self) -> list[str]:
        return list(self._files)

    def scan(self) -> Iterator[Listed]:
        for name in list(self._files):
            entry = self._entry(name)
            yield Listed(name, entry.size, entry.changed, entry.changed)

    async def stat(self, name: str) -> Entry | None:
        await self._disk.guard("look", f"stat {self.label}/{name}")
        return self._entry(name) if name in self._files else None

    def _entry(self, name: str) -> Entry:
        changed = self._disk.changed.get((self.label, name), 0)
        return Entry(Kind.FILE, len(self._files[name]), changed)

    def _content(self, name: str) -> bytes:
        try:
            return self._files[name]
        except KeyError:
            raise _not_found(name) from None

    async def read(self, name: str, limit: int) -> bytes:
        await self._disk.guard("look", f"read {self.label}/{name}")
        return self._content(name)[: limit + 1]

    async def open(self, name: str) -> Payload:
        await self._disk.guard("look", f"open {self.label}/{name}")
        content = self._content(name)
        if len(content) <= SMALL:
            return Payload(self._entry(name), content)
        return Payload(self._entry(name), None, io.BytesIO(content))

    async def renew(self) -> None:
        """Nothing to do: a label always leads to its folder."""

    async def is_being_written(self, name: str) -> bool | None:
        self._content(name)
        return False

    def create(self, name: str) -> BinaryIO:
        return _Writer(self, name)

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        part = part_of(name)
        digest = await self._store(part, source)
        async with _Guarded(self._disk, f"rename {self.label}/{name}"):
            try:
                self._rename(part, self, name)
            except FileExistsError:
                del self._files[part]
                raise
        return digest

    async def replace(self, name: str, content: bytes) -> None:
        async with _Guarded(self._disk, f"replace {self.label}/{name}"):
            self._files[name] = content
            self._disk.touch(self.label, name)

    async def write(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        return await self._store(name, source)

    async def _store(self, name: str, source: bytes | BinaryIO) -> Digest:
        content = source if isinstance(source, bytes) else source.read()
        async with _Guarded(self._disk, f"create {self.label}/{name}"):
            self._files[name] = b""  # What a crash in the middle of writing leaves behind.
        async with _Guarded(self._disk, f"fill {self.label}/{name}"):
            self._files[name] = content
            self._disk.touch(self.label, name)
        return Digest(len(content), hashlib.sha256(content).hexdigest())

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        assert isinstance(to, MemoryFolder)
        operation = f"move {self.label}/{name} to {to.label}/{new_name}"
        async with _Guarded(self._disk, operation):
            self._rename(name, to, new_name)

    def _rename(self, name: str, to: MemoryFolder, new_name: str) -> None:
        content = self._content(name)
        if new_name in to._files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)
        del self._files[name]
        to._files[new_name] = content
        changed = self._disk.changed
        changed[to.label, new_name] = changed.pop((self.label, name), 0)

    async def link(self, name: str, to: Folder, new_name: str) -> None:
        assert isinstance(to, MemoryFolder)
        async with _Guarded(self._disk, f"link {self.label}/{name} to {to.label}/{new_name}"):
            content = self._content(name)
            if new_name in to._files:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name)
            to._files[new_name] = content
            self._disk.touch(to.label, new_name)

    async def remove(self, name: str) -> bool:
        if name not in self._files:
            return False
        async with _Guarded(self._disk, f"remove {self.label}/{name}"):
            del self._files[name]
        return True

    async def space(self) -> Space:
        return self._disk.space


class _Writer(io.BytesIO):
    """A file being written in place: its content is there once it is closed."""

    def __init__(self, folder: MemoryFolder, name: str) -> None:
        super().__init__()
        self._folder = folder
        self._name = name

    def close(self) -> None:
        if not self.closed:
            self._folder._files[self._name] = self.getvalue()
            self._folder._disk.touch(self._folder.label, self._name)
        super().close()


class _Guarded:
    """Shows one mutation to the disk's guard, before and after."""

    def __init__(self, disk: MemoryDisk, operation: str) -> None:
        self._disk = disk
        self._operation = operation

    async def __aenter__(self) -> None:
        await self._disk.guard("before", self._operation)

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            await self._disk.guard("after", self._operation)


def _not_found(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
