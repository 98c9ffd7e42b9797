"""What B answered, kept until the exchange is closed, so that the same request is never paid twice.

An answer is a file `N.done` of B's private `state/kept/`: a line with the answer's marker and how
often it was given, then the payload. A large payload is a file `N` of its own, written there
while it was made. An answer that is not whole is none: it is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.documents import read_object, shown
from roundtrip.protocol.markers import MAX_BYTES, Digest, Outcome, ResponseMarker
from roundtrip.protocol.names import marker_of, split
from roundtrip.roles.request import Request
from roundtrip.shares.port import SMALL, Folder, NotAFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and how often it has been given; its `content` if that is at hand in memory."""

    marker: ResponseMarker
    given: int
    content: bytes | None = None

    def answers(self, request: Request) -> bool:
        """Whether this is the answer to `request`.

        A wish to have it sent again answers just the attempt that it was made for.
        """
        if self.marker.outcome is Outcome.RESEND and self.marker.attempt != request.marker.attempt:
            return False
        return self.marker.request == request.asked

    def again(self, attempt: int) -> Kept:
        """The same answer, given once more, to this attempt."""
        return replace(self, marker=replace(self.marker, attempt=attempt), given=self.given + 1)

    def taken_back(self) -> Kept:
        """The same answer: it couldn't be given after all."""
        return replace(self, given=self.given - 1)


def decode(record: bytes, exchange: str) -> tuple[ResponseMarker, int]:
    """A kept answer's first line: its marker, and how often it was given.

    Raises:
        UnusableMarker: it is none, or not all there.
    """
    marker = ResponseMarker.decode(record, exchange)
    given = read_object(record).get("given")
    if type(given) is not int or not 0 <= given < 1 << 31:
        raise UnusableMarker(f"it does not say how often it was given: {shown(given)}")
    return marker, given


class KeptAnswers:
    """B's folder of kept answers."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    async def exchanges(self) -> set[str]:
        """The exchanges of which anything is kept."""
        return {found.exchange for name in await self.folder.names() if (found := split(name))}

    async def get(self, exchange: str) -> Kept | None:
        """The kept answer; None if there is none, or just a part of one."""
        try:
            found = await self.folder.read(marker_of(exchange), MAX_BYTES + SMALL)
            record, is_small, content = found.partition(b"\n")
            marker, given = decode(record, exchange)
        except (FileNotFoundError, NotAFile, UnusableMarker):
            return None
        if is_small:
            return Kept(marker, given, content) if len(content) == marker.digest.size else None
        entry = await self.folder.stat(exchange)
        return Kept(marker, given) if entry and entry.size == marker.digest.size else None

    async def keep(self, exchange: str, kept: Kept) -> None:
        """Write the answer down, or that it was given once more."""
        record = json.loads(kept.marker.encode()) | {"given": kept.given}
        content = b"" if kept.content is None else b"\n" + kept.content
        await self.folder.write(marker_of(exchange), json.dumps(record).encode() + content)

    async def recount(self, exchange: str) -> None:
        """Count from zero how often the answer was given, if there is one."""
        kept = await self.get(exchange)
        if kept is not None:
            await self.keep(exchange, replace(kept, given=0))

    async def forget(self, exchange: str) -> bool:
        """The exchange is over; returns whether an answer to it was kept."""
        was_kept = await self.folder.remove(marker_of(exchange))
        await self.folder.remove(exchange)
        return was_kept


class Spool(io.BufferedIOBase):
    """A file being written: in memory while it is small, then on in a private folder.

    Size and SHA-256 are kept up with the writing.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._memory = io.BytesIO()
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Buffer, /) -> int:
        """Append `piece`; returns its length in bytes."""
        length = memoryview(piece).nbytes
        self._sha256.update(piece)
        self._size += length
        if self._file is None and self._size > SMALL:
            self._file = self._folder.create(self._name)
            self._file.write(self._memory.getvalue())
            self._memory = io.BytesIO()
        (self._file or self._memory).write(piece)
        return length

    @property
    def content(self) -> bytes | None:
        """All that was written, if it is still in memory."""
        return self._memory.getvalue() if self._file is None else None

    def finish(self) -> Digest:
        """End the writing; returns the digest of all that was written."""
        if self._file is not None:
            self._file.close()
        return Digest(self._size, self._sha256.hexdigest())

    def close(self) -> None:
        """Give the file back, finished or not."""
        if self._file is not None:
            self._file.close()
        super().close()
