"""Writing in an open folder, by its descriptor: with outcomes.py the only code that writes files.

As in files.py, every function blocks until the kernel has answered, and goes through no path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from roundtrip.shares.outcomes import remove as remove
from roundtrip.shares.outcomes import rename as rename
from roundtrip.shares.verdicts import Operation, during, of_own_disk

CHUNK = 1024 * 1024
_SECTOR = 512  # bytes; what st_blocks counts (stat(2))
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Between = Callable[[int, int], None]
"""Called between the chunks of a copy, with the descriptor written to and the bytes done so far.

It ends the copy by raising."""

Found = tuple[int, str]
"""How many bytes were written, and their SHA-256 in lower-case hexadecimal."""


def go_on(opened: int, size: int) -> None:
    """The `Between` that lets everything pass."""


@contextlib.contextmanager
def removed_on_failure(folder: int, name: str) -> Iterator[None]:
    """Nothing is left of `name` if the body fails."""
    try:
        yield
    except BaseException:
        # The first error is the one to tell.
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


@contextlib.contextmanager
def new_part(folder: int, part: str) -> Iterator[int]:
    """A new in-flight file, opened for writing; `part` is a name that nobody else uses."""
    try:
        opened = _open(folder, part, os.O_EXCL)
    except FileExistsError:
        # Our own call, which an NFS client sent again because the answer was lost.
        os.unlink(part, dir_fd=folder)
        opened = _open(folder, part, os.O_EXCL)
    with _closing(opened):
        yield opened


@contextlib.contextmanager
def emptied(folder: int, name: str) -> Iterator[int]:
    """A file opened for writing in place, emptied; made if it isn't there, gone if that fails."""
    opened = _open(folder, name, os.O_TRUNC)
    with removed_on_failure(folder, name), _closing(opened):
        yield opened


def create(folder: int, name: str) -> BinaryIO:
    """Open `name` for writing in place, emptied."""
    return os.fdopen(_open(folder, name, os.O_TRUNC), "wb")


def _open(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, _CREATE | flags, 0o666, dir_fd=folder)
    except OSError as error:
        raise during(Operation.CREATE, error) from None


@contextlib.contextmanager
def _closing(opened: int) -> Iterator[int]:
    """Close a written file; over NFS, errors of earlier writes are told by close(2)."""
    try:
        yield opened
    except BaseException as error:
        if isinstance(error, OSError):
            during(Operation.WRITE, error)
        with contextlib.suppress(OSError):  # The first error is the one to tell.
            os.close(opened)
        raise
    try:
        os.close(opened)
    except OSError as error:
        raise during(Operation.WRITE, error) from None


def write_all(opened: int, content: bytes | memoryview) -> None:
    """Write all of `content`."""
    view = memoryview(content)
    while view:
        view = view[os.write(opened, view) :]


def copy(opened: int, pieces: Iterable[bytes | memoryview], between: Between = go_on) -> Found:
    """Write all pieces, and say what was written."""
    import hashlib  # Not before it is needed: a helper that moves small files does without.

    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        write_all(opened, piece)
        between(opened, size)
    return size, digest.hexdigest()


def pieces_of(source: BinaryIO) -> Iterator[bytes]:
    """What can be read from `source` now; somebody may let a file grow for ever."""
    left = length_of(source)
    while left is None or left > 0:
        try:
            piece = source.read(CHUNK if left is None else min(CHUNK, left))
        except OSError as error:
            raise of_own_disk(error) from None
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


def pieces_at(opened: int, offset: int, length: int) -> Iterator[memoryview]:
    """`length` bytes from `offset` of a file whose own offset others use.

    Each piece is in the same memory as the one before: a helper stays small.
    """
    end = offset + length
    memory = memoryview(bytearray(min(CHUNK, length)))
    while offset < end:
        try:
            size = os.preadv(opened, [memory[: end - offset]], offset)
        except OSError as error:
            raise of_own_disk(error) from None
        if not size:
            return
        offset += size
        yield memory[:size]


def length_of(source: BinaryIO) -> int | None:
    """How much a regular file holds now; None for anything else."""
    try:
        found = os.fstat(source.fileno())
    except (AttributeError, OSError):  # Not backed by a descriptor.
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def put(
    folder: int,
    part: str,
    name: str,
    pieces: Iterable[bytes | memoryview],
    *,
    durable: bool,
    between: Between = go_on,
) -> Found:
    """Write under the in-flight name `part`, then rename to `name`, which must not exist yet."""
    with removed_on_failure(folder, part):
        with new_part(folder, part) as opened:
            found = copy(opened, pieces, between)
            if durable:
                os.fsync(opened)
            made = os.fstat(opened)
        rename(folder, part, folder, name, made)
    if durable:
        os.fsync(folder)
    return found


def replace(folder: int, part: str, name: str) -> None:
    """Rename over what is there: only in private folders."""
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def put_bytes(folder: int, part: str, name: str, content: bytes, *, durable: bool) -> None:
    """As `put`, for what is in memory already."""
    with removed_on_failure(folder, part):
        with new_part(folder, part) as opened:
            write_all(opened, content)
            if durable:
                os.fsync(opened)
            made = os.fstat(opened)
        rename(folder, part, folder, name, made)
    if durable:
        os.fsync(folder)


def overwrite(folder: int, name: str, content: bytes) -> None:
    """Write over what a file holds, in the blocks that it has: that takes no room on a full disk.

    A reader may see a part of each for a moment, and a crash may leave that. For what is renewed.

    Raises:
        OSError: there is no such file, it has too few blocks, or its file system writes elsewhere.
    """
    opened = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if len(content) > os.fstat(opened).st_blocks * _SECTOR:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        os.pwrite(opened, content, 0)
        os.ftruncate(opened, len(content))
    finally:
        os.close(opened)
