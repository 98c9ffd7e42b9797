"""What a program hands in: can it be read, and is there room for it, before and meanwhile?"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from roundtrip.errors import InputError, ShareError
from roundtrip.roles.space import in_words, is_full, need_of
from roundtrip.shares.port import Folder

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def opened(path: Path) -> BinaryIO:
    """Open a file that is to be sent; the caller closes it.

    Raises:
        InputError: it isn't there, isn't a regular file, or can't be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # Opening a named pipe would wait for a writer.
            raise InputError(f"{path}: not a regular file")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error


async def fitted(source: BinaryIO, folder: Folder, reserve: int) -> BinaryIO:
    """`source`, as far as it fits into `folder` beside the reserve (bytes).

    Raises:
        ShareError: it doesn't; the reader that is returned raises it as well.
    """
    space = await folder.space()
    room = space.free - reserve
    size = _size_of(source)
    if need_of(size or 0) > room:
        raise _no_room(folder.label, f"{in_words(space.free)} free", size, reserve)
    if size is not None:
        return source
    return io.BufferedReader(_Bounded(source, folder.label, room, reserve))


def _size_of(source: BinaryIO) -> int | None:
    """The size of a file in bytes; None for a pipe, and for what has no descriptor."""
    try:
        found = os.fstat(source.fileno())
    except (AttributeError, OSError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _no_room(label: str, why: str, size: int | None, reserve: int) -> ShareError:
    what = "this" if size is None else in_words(size)
    return ShareError(
        f"{label}: no room for {what}: {why}, and limits.reserve keeps {in_words(reserve)}; make "
        "room there and send it again"
    )


@contextmanager
def told_if_full(folder: Folder) -> Iterator[None]:
    """Say in one line that a disk or quota was used up after all.

    Raises:
        ShareError: it was.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise ShareError(
            f"{folder.label}: {error.strerror}; make room there, or raise the quota, and send it "
            "again"
        ) from error


class _Bounded(io.RawIOBase):
    """A stream that ends with an error instead of filling the disk."""

    def __init__(self, source: BinaryIO, label: str, room: int, reserve: int) -> None:
        self._source = source
        self._label = label
        self._left = room
        self._reserve = reserve

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As io.RawIOBase; raises ShareError once there is more than fits."""
        view = memoryview(buffer).cast("B")
        piece = self._source.read(len(view))
        self._left -= len(piece)
        if self._left < 0:
            raise _no_room(self._label, "the disk is nearly full", None, self._reserve)
        view[: len(piece)] = piece
        return len(piece)
