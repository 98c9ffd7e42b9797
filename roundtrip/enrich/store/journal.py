"""`Journal`: answers whose commit is still to come, safe from a kill of the process meanwhile.

    put --> queued batch, noted in one file --> being written --> on disk: that file is emptied
            the next batch is noted in the other file

A plain write to a file outlives the process without any fsync (not the machine: that is what the
commit is for), and costs a few microseconds. So a kill costs just the calls that were under way,
however far apart the commits are.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MAX_ANSWER = 1024 * 1024  # bytes; a larger answer is not noted: its commit follows soon
_HEAD = struct.Struct("<IHBI")  # checksum of the rest, lengths of scope, key and answer


class Note(NamedTuple):
    """An answer as it was put into the ledger."""

    scope: str
    key: bytes
    answer: bytes


class Journal:
    """Two files beside the ledger's; one is noted into while the other's batch is written."""

    def __init__(self, ledger: Path) -> None:
        self._paths = [ledger.with_name(f"{ledger.name}-notes{number}") for number in (0, 1)]
        self._files: list[int] = []
        self._sizes = [0, 0]  # bytes
        self._now = 0

    def open(self) -> list[Note]:
        """Open the files; what an earlier life has left in them. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._files = [os.open(path, flags, 0o600) for path in self._paths]
        return [note for path in self._paths for note in notes(path.read_bytes())]

    def note(self, scope: str, key: bytes, answer: bytes) -> None:
        """Note an answer. One that can't be noted is as safe as its commit."""
        if len(answer) > MAX_ANSWER or not self._files:
            return
        name = scope.encode()
        lengths = (len(name), len(key), len(answer))
        rest = b"".join((_HEAD.pack(0, *lengths)[4:], name, key, answer))
        line = zlib.crc32(rest).to_bytes(4, "little") + rest
        file = self._files[self._now]
        written = 0
        with suppress(OSError):  # a full disk: the commit will fail as well, and say so
            written = os.write(file, line)
        if written == len(line):
            self._sizes[self._now] += written
        elif written:
            os.ftruncate(file, self._sizes[self._now])  # half a line would hide all after it

    def swap(self) -> None:
        """The batch is closed: what comes now belongs to the next one."""
        self._now = 1 - self._now

    def written(self) -> None:
        """The batch that was closed last is on disk."""
        self._empty(1 - self._now)

    def reset(self) -> None:
        """All that was put is on disk."""
        self._empty(0)
        self._empty(1)

    def close(self) -> None:
        """Give the files back; one with nothing in it is removed."""
        for path, file in zip(self._paths, self._files, strict=False):
            if not os.fstat(file).st_size:
                path.unlink(missing_ok=True)
            os.close(file)
        self._files = []

    def _empty(self, number: int) -> None:
        # else an empty file would be truncated at each commit without any answer
        if self._files and os.fstat(self._files[number]).st_size:
            os.ftruncate(self._files[number], 0)
        self._sizes[number] = 0


def notes(content: bytes) -> Iterator[Note]:
    """The notes in a file, up to the first that is not whole."""
    at = 0
    while at + _HEAD.size <= len(content):
        checksum, *lengths = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + sum(lengths)
        if zlib.crc32(content[at + 4 : end]) != checksum or end > len(content):
            return
        key_at = at + _HEAD.size + lengths[0]
        answer_at = key_at + lengths[1]
        scope = content[at + _HEAD.size : key_at].decode()
        yield Note(scope, content[key_at:answer_at], content[answer_at:end])
        at = end
