"""The port to one folder of files: names and contents, no paths.

Every adapter (posix, memory) passes the same contract suite, tests/shares/test_contract.py. Methods
raise plain `OSError`s (FileNotFoundError, FileExistsError, ...), whatever the adapter, and
`NotAFile` where a file should be and something else is.
"""

from __future__ import annotations

import asyncio
import hashlib
from enum import Enum
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from roundtrip.errors import ShareError
from roundtrip.protocol.markers import Digest

SMALL = 1024 * 1024
"""Payloads up to this many bytes are handled in memory and on the event loop; others in threads."""


class NotAFile(ShareError):
    """A symlink, folder, device or FIFO stands where a regular file should be."""


class Kind(Enum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


class Entry(NamedTuple):
    """What is known of a name without opening it; symlinks are not followed.

    `changed` is the time of the content's last change in nanoseconds since 1970, by the clock of
    the host that holds the folder.
    """

    kind: Kind
    size: int
    changed: int


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
        return await asyncio.to_thread(_digest_of, self.source)

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


def _digest_of(source: bytes | BinaryIO) -> Digest:
    assert not isinstance(source, bytes)
    digest, size = hashlib.sha256(), 0
    while piece := source.read(SMALL):
        digest.update(piece)
        size += len(piece)
    return Digest(size, digest.hexdigest())


class Space(NamedTuple):
    """Room on the file system that holds a folder, in bytes; `free` is what this user may have."""

    free: int
    total: int


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
