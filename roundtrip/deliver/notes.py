"""What became of attempts: written down on the shelf, and kept in mind while that can't be done.

attempt --> Note --written--> the entry is gone, put off, or dead
              '-- the disk refuses --> kept, and written later: nobody is asked a second time for it
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from roundtrip.deliver.entry import Entry
from roundtrip.deliver.shelf import Shelf

log = logging.getLogger("roundtrip.deliver")

_FULL = (errno.ENOSPC, errno.EDQUOT)


class End(Enum):
    """What an attempt came to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """It is tried again later."""
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Note:
    """An attempt's end, and the entry as it is now; `pause` is in seconds."""

    entry: Entry
    end: End
    pause: float = 0.0


@dataclass(slots=True)
class Count:
    """What a delivery has come to in this life."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0


class Disk(Protocol):
    """Who tells that the disk of the queue is full, and looks whether it still is."""

    def refused(
        self, name: str, error: OSError, *, wake: Callable[[str], None] | None = None
    ) -> None:
        """Something small couldn't be written; `name` is woken later."""

    def succeeded(self) -> None:
        """Something was written."""


class Notes:
    """The notes of one delivery: where they are written, counted and logged."""

    def __init__(
        self, delivery: str, shelf: Shelf, disk: Disk | None, wake: Callable[[str], None]
    ) -> None:
        """`wake` is called once a full `disk` has room again; without a disk, nobody looks."""
        self.count = Count()
        self.failing: dict[str, float] = {}
        """Since when those are due whose last attempt failed, in seconds since 1970."""
        self.on_dead: Callable[[], None] = lambda: None
        self._delivery = delivery
        self._shelf = shelf
        self._disk = disk
        self._wake = wake
        self._kept: dict[str, Note] = {}

    @property
    def kept(self) -> list[str]:
        """The exchanges whose notes wait to be written."""
        return list(self._kept)

    def of(self, exchange: str) -> Note | None:
        """The note that waits to be written, if there is one."""
        return self._kept.get(exchange)

    def forget(self, exchange: str) -> None:
        """What is on the shelf is right, whatever was to be written there."""
        self._kept.pop(exchange, None)

    def read(self, exchange: str, entry: Entry | None) -> None:
        """How an exchange is now, as the shelf says or soon will."""
        if entry is not None and entry.error is not None:
            self.failing[exchange] = entry.queued
        else:
            self.failing.pop(exchange, None)

    async def write(self, note: Note) -> bool:
        """Write a note down; False if somebody has dropped the entry meanwhile.

        Raises:
            OSError: that can't be done now. The note is kept, to be written again.
        """
        exchange = note.entry.exchange
        is_first = exchange not in self._kept
        self._kept[exchange] = note
        self.read(exchange, note.entry if note.end is End.FAILED else None)
        try:
            is_there = await self._put(note)
        except OSError as error:
            if is_first:
                log.warning("delivery held", extra=self._about(note.entry, reason=str(error)))
            if self._disk is not None and error.errno in _FULL:
                self._disk.refused(f"deliver.{self._delivery}", error, wake=self._wake)
            raise
        self.forget(exchange)
        if not is_first and self._disk is not None:
            self._disk.succeeded()
        if is_there:
            self._tell(note)
        return is_there

    async def _put(self, note: Note) -> bool:
        exchange = note.entry.exchange
        if note.end is End.DELIVERED:
            await self._shelf.remove(exchange)
        elif not await self._shelf.has(exchange):
            self.failing.pop(exchange, None)
            return False
        elif note.end is End.FAILED:
            await self._shelf.write(note.entry)
        else:
            await self._shelf.bury(note.entry)
        return True

    def _tell(self, note: Note) -> None:
        entry = note.entry
        if note.end is End.DELIVERED:
            self.count.delivered += 1
            log.info("delivery done", extra=self._about(entry, attempt=entry.attempts + 1))
        elif note.end is End.DEAD:
            self.count.dead += 1
            self.on_dead()
            about = self._about(entry, reason=entry.error, attempt=entry.attempts)
            log.error("delivery dead", extra=about)
        else:
            self.count.failed += 1
            about = self._about(entry, reason=entry.error, attempt=entry.attempts)
            log.warning("delivery failed", extra={**about, "again": round(note.pause, 3)})

    def _about(self, entry: Entry, **extra: object) -> dict[str, object]:
        return {"delivery": self._delivery, "exchange": entry.exchange, **extra}
