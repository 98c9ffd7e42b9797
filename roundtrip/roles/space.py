"""Amounts of disk: what a file needs, which errors say that none is left, and how all is told."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from roundtrip.shares.port import Space

_BLOCK = 4096  # bytes; what most file systems give a file at least
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that a disk or a quota is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def need_of(size: int) -> int:
    """Bytes of disk that a file of `size` bytes takes, with its marker and the names of both."""
    return -(-size // _BLOCK) * _BLOCK + 2 * _BLOCK


def in_words(size: int) -> str:
    """A number of bytes for people."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Disk:
    """What messages say of a disk: its `key` among the conditions, and what `waits` for room."""

    key: str
    waits: str

    def text(self, label: str, said: Space, reserve: int, refusal: OSError | None) -> str:
        """What is wrong with the room below the folder `label`, and what to do."""
        free = f"{in_words(max(said.free, 0))} of {in_words(said.total)} free"
        if refusal is not None:
            why = refusal.strerror or os.strerror(refusal.errno or 0)
            what = f"writing is refused ({why}), {free}; look at the quota and at the inodes"
        else:
            what = f"{free}, and limits.reserve keeps {in_words(reserve)}; make room there"
        return (
            f"{label}: {what}. What waits: {self.waits}; nothing is lost, and it goes on by itself"
        )
