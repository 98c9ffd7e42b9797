"""The port to one folder of files: names and contents, no paths.

Every adapter (posix, memory) passes the same contract suite, tests/shares/test_contract.py. Methods
raise plain `OSError`s (FileNotFoundError, FileExistsError, ...), whatever the adapter, and
`NotAFile` where a file should be and something else is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from roundtrip.protocol.markers import Digest
from roundtrip.shares.entry import Entry, Kind, NotAFile, Space
from roundtrip.shares.threads import Check, in_thread

__all__ = [
    "SMALL", "Entry", "Folder", "Kind", "Listed", "NotAFile", "Payload", "SharedFolder", "Space",
]  # fmt: skip

SMALL = 1024 * 1024
"""Payloads up to this many bytes are handled in memory and on the event loop; others in threads."""


class Listed(NamedTuple):
    """A regular file as `Folder.scan` found it.

    `changed` is as in `Entry`; `placed` when content, name or owner changed last, in the same
    terms: a rename keeps `changed`, so it may be older than the file is here.
    """

    name: str
    size: int
    changed: int
    placed: int


class Payload:
    """An opened file: its bytes if it is small, an open file from its beginning if it is not.

    `entry` is how it looked when it was opened; a context manager closes it.
    """

    def __init__(self, entry: Entry, content: bytes | None, file: BinaryIO | None = None) -> None:
        self.entry = entry
        self.content = content
        self._file = file

    @property
    def size(self) -> int:
        """The size in bytes that it had when it was opened."""
        return self.entry.size

    @property
    def source(self) -> bytes | BinaryIO:
        """What `Folder.put` and `Folder.write` take; a file is rewound first."""
        if self._file is None:
            return self.content or b""
        self._file.seek(0)
        return self._file

    async def digest(self) -> Digest:
        """Size and SHA-256 of what is read now; a large file is read in a thread."""
        if self._file is None:
            content = self.content or b""
            return Digest(len(content), hashlib.sha256(content).hexdigest())
        source = self.source
        return await in_thread(lambda check: _digest_of(source, check))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


def _digest_of(source: bytes | BinaryIO, check: Check) -> Digest:
    assert not isinstance(source, bytes)
    digest, size = hashlib.sha256(), 0
    while piece := source.read(SMALL):
        check()
        digest.update(piece)
        size += len(piece)
    return Digest(size, digest.hexdigest())


class SharedFolder(Protocol):
    """A folder as one who only puts names into it and takes them off again needs it.

    That is all that may be done to the share of the other host: nothing in it is ever replaced, and
    no open file of it is kept, since the mount may hang.
    """

    label: str
    """How messages call this folder: its path where it has one."""

    async def names(self) -> list[str]:
        """All names, in no order; in-flight and internal ones too."""

    async def stat(self, name: str) -> Entry | None:
        """What `name` stands for; None if it isn't there."""

    async def read(self, name: str, limit: int) -> bytes:
        """The content of a small file, cut off one byte after `limit` so that callers can tell."""

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        """Write under an in-flight name, then rename to `name`, which must not exist yet."""

    async def remove(self, name: str) -> bool:
        """Remove `name`; False if it wasn't there."""

    async def space(self) -> Space:
        """How much room there is."""


class Folder(SharedFolder, Protocol):
    """One folder of files on this host's own disk."""

    def sub(self, name: str) -> Folder:
        """The folder called `name` inside this one.

        Raises:
            ShareError: there is no such folder.
        """

    def scan(self) -> Iterator[Listed]:
        """The regular files, in no order; blocks, so it is for a thread."""

    async def open(self, name: str) -> Payload:
        """Open a regular file for reading, without ever blocking on a FIFO or a device."""

    async def renew(self) -> None:
        """Follow the folder's path again, if somebody has put another folder in its place.

        Raises:
            FileNotFoundError: there is none now.
        """

    async def is_being_written(self, name: str) -> bool | None:
        """Whether a process has the file open for writing; None if that can't be told."""

    def create(self, name: str) -> BinaryIO:
        """Open `name` for writing in place, emptied: only for folders that nobody else reads."""

    async def replace(self, name: str, content: bytes) -> None:
        """Durably put `content` in place of `name`: for small private files, never on a share."""

    async def write(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        """Write in place, replacing what is there: only for folders that nobody else reads."""

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        """Rename into `to`. An existing `new_name` is never replaced: FileExistsError."""

    async def link(self, name: str, to: Folder, new_name: str) -> None:
        """Give a file another name in `to`, which goes on when this one goes; it stays one file.

        Raises:
            FileExistsError: `new_name` is taken.
            OSError: this file system has no hard links, or no more for this file.
        """
