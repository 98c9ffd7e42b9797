"""What B answered, kept until the exchange is closed, so that the same request is never paid twice.

An answer is two files of B's private `state/kept/`: the payload `N`, then the record `N.done`,
which is the answer's marker and how often it was given. One without the other is an answer that was
never finished.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import MAX_BYTES, Digest, Outcome, ResponseMarker
from roundtrip.protocol.names import marker_of, split
from roundtrip.roles.request import Request
from roundtrip.shares.port import SMALL, Folder

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
        return Kept(replace(self.marker, attempt=attempt), self.given + 1)


class KeptAnswers:
    """B's folder of kept answers."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    async def exchanges(self) -> set[str]:
        """The exchanges of which anything is kept."""
        return {found.exchange for name in await self.folder.names() if (found := split(name))}

    async def get(self, exchange: str) -> Kept | None:
        """The kept answer; None if there is none, or just half of one."""
        try:
            content = await self.folder.read(marker_of(exchange), MAX_BYTES)
            kept = Kept(ResponseMarker.decode(content, exchange), json.loads(content)["given"])
        except (FileNotFoundError, UnusableMarker, KeyError):
            return None
        entry = await self.folder.stat(exchange)
        return kept if entry and entry.size == kept.marker.digest.size else None

    async def keep(self, exchange: str, kept: Kept) -> None:
        """Keep a new answer: its payload, if that isn't in the folder yet, then its record."""
        if kept.content is not None:
            await self.folder.write(exchange, kept.content)
            await self.record(exchange, kept)
        elif kept.given == 1:
            await self.record(exchange, kept)

    async def record(self, exchange: str, kept: Kept) -> None:
        """Write down that the payload that lies in the folder is a whole answer."""
        record = json.loads(kept.marker.encode()) | {"given": kept.given}
        await self.folder.write(marker_of(exchange), json.dumps(record).encode())

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
