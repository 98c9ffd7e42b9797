"""Removes what nobody needs: what is old, seldom and beside the work; what a killed life left.

rescan --at the start, then hourly--> leftovers        the role's own folders, small
                                 `--> Cleaner.begin    a task: listings in a thread,
                                                       removals on the loop, a few at a time
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from roundtrip.protocol.names import created_of
from roundtrip.roles import ticket as tickets
from roundtrip.roles.desk import PROBLEM_COPY, Desk
from roundtrip.roles.retention import (
    MOST,
    Arrange,
    Bounds,
    Group,
    failures,
    originals,
    overdue,
    records,
    stock,
)
from roundtrip.roles.tally import Tally
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder

T = TypeVar("T")
log = logging.getLogger("roundtrip.roles")

PAUSE = 3600.0  # seconds between two cleanings
_DAY = 86400.0
_DEAD = _DAY  # after which no program is still handing in what it began
UNCLAIMED = Bounds(keep=30 * _DAY)  # after which nobody comes for the record of an outcome
_SLICE = 256  # names that are looked at before others have their turn
_REST = 0.001  # seconds
_TURN = 0.002  # seconds of removing before others have theirs


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of the past, and how much of it is kept; `name` is for log and metrics."""

    name: str
    folder: Folder
    bounds: Bounds
    arrange: Arrange = records


class _Stopped(Exception):
    """The agent ends while a folder is being listed."""


class Cleaner:
    """Keeps shelves within their bounds; what it removes is logged and counted in `tally`."""

    def __init__(
        self,
        shelves: Sequence[Shelf] = (),
        stamp: tuple[Folder, str] | None = None,
        parts: Sequence[Folder] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`stamp` is a file whose age is the time since the last cleaning, this life's or not.

        In-flight names in `parts` go once they are a day old.
        """
        self._shelves = [shelf for shelf in shelves if shelf.bounds]
        self._stamp = stamp
        self._parts = parts
        self._clock = clock
        self._next: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = threading.Event()
        self.tally = Tally()
        self.began = clock()

    def is_due(self) -> bool:
        """Whether it is time to clean; True once, at the start and then hourly."""
        now = time.monotonic()
        if self._next is not None and now < self._next:
            return False
        self._next = now + PAUSE
        return True

    def begin(self, needed: Container[str]) -> None:
        """Clean the shelves, beside the work; `needed` are names that must stay."""
        if (self._shelves or self._parts) and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._clean(needed), name="clean")

    def stop(self) -> None:
        """End soon; what is left is for the next time."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()

    async def finish(self) -> None:
        """Wait for what has begun."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _clean(self, needed: Container[str]) -> None:
        try:
            if not await self._is_long_ago():
                return
            for folder in self._parts:
                self.told("leftovers", await sweep_parts(folder, older_than=_DEAD), 0)
            for shelf in self._shelves:
                await self._clean_shelf(shelf, needed)
            if self._stamp is not None:
                folder, name = self._stamp
                await folder.replace(name, b"")
        except OSError as error:
            log.warning("not cleaned", extra={"error": str(error)})

    async def _is_long_ago(self) -> bool:
        """Whether the last cleaning is: an agent that cron starts must not list all each time."""
        if self._stamp is None:
            return True
        folder, name = self._stamp
        entry = await folder.stat(name)
        return entry is None or not 0 <= self._clock() - entry.changed / 1e9 < PAUSE * 0.9

    async def _clean_shelf(self, shelf: Shelf, needed: Container[str]) -> None:
        while True:
            doomed = await asyncio.to_thread(self._doomed, shelf, needed)
            are_all = len(doomed) < MOST
            files, size = await self._remove(shelf.folder, doomed)
            self.told(shelf.name, files, size)
            if are_all or not files:
                return

    def _doomed(self, shelf: Shelf, needed: Container[str]) -> deque[Group]:
        """In a thread: list a shelf, at a pace that leaves the event loop its turns."""
        found = stock(shelf.folder.scan(), shelf.arrange, needed, self._paced)
        return deque(self._paced(overdue(found, shelf.bounds, self._clock())))

    def _paced(self, items: Iterable[T]) -> Iterator[T]:
        for number, item in enumerate(items, 1):
            if number % _SLICE == 0:
                time.sleep(_REST)
                if self._stopping.is_set():
                    raise _Stopped
            yield item

    async def _remove(self, folder: Folder, groups: deque[Group]) -> tuple[int, int]:
        """Remove what is still what was listed; returns how many files and bytes went."""
        count = size = 0
        turn = time.monotonic() + _TURN
        while groups:  # Let go of one by one, too: giving back all the memory takes its time.
            for file in groups.popleft().files:
                entry = await folder.stat(file.name)
                # Another file may have come under this name since.
                if entry and (entry.size, entry.changed) == (file.size, file.changed):
                    count += await folder.remove(file.name)
                    size += file.size
            if time.monotonic() > turn:
                await asyncio.sleep(0)
                turn = time.monotonic() + _TURN
        return count, size

    def told(self, name: str, files: int, size: int) -> None:
        """Log and count what went."""
        if files:
            self.tally.removed[name] += files
            self.tally.removed_bytes[name] += size
            log.info("cleaned", extra={"folder": name, "files": files, "size": size})


def requester_shelves(desk: Desk, archive: Bounds, failed: Bounds) -> list[Shelf]:
    """What role a keeps of the past."""
    shelves = [
        Shelf("outcomes", desk.outcomes, UNCLAIMED),
        Shelf("failed", desk.failed, failed, failures),
    ]
    if desk.archive is not None:
        shelves.append(Shelf("archive", desk.archive, archive, originals))
    return shelves


async def drop_leftovers(
    desk: Desk, is_open: Callable[[str], bool], began: float
) -> tuple[int, int]:
    """Remove what a killed life left in A's own folders; returns how many files and bytes went.

    `is_open` tells the exchanges that A is not done with; `began` is this life's begin (Unix time).
    """
    parts = 0
    for folder in (desk.submit, desk.tickets, desk.outcomes):
        parts += await sweep_parts(folder, older_than=_DEAD)  # Programs may be submitting now.
    tickets_left = [name async for name in _old_tickets(desk, is_open, began)]
    copies = [
        name
        for name in await desk.collected.names()
        if not is_open(name.removesuffix(PROBLEM_COPY))
    ]
    removed = [await _removed(desk.tickets, name) for name in tickets_left]
    removed += [await _removed(desk.collected, name) for name in copies]
    return parts + sum(size is not None for size in removed), sum(size or 0 for size in removed)


async def _removed(folder: Folder, name: str) -> int | None:
    """Remove a file; returns the bytes that it had, None if it had gone."""
    entry = await folder.stat(name)
    return entry.size if entry and await folder.remove(name) else None


async def _old_tickets(
    desk: Desk, is_open: Callable[[str], bool], began: float
) -> AsyncIterator[str]:
    """A ticket precedes its original and outlives it: a kill at either end leaves it behind."""
    async for name in _in_turns(await desk.tickets.names()):
        exchange = tickets.exchange_of(name)
        if exchange is None or is_open(exchange):
            continue
        if await desk.submit.stat(exchange) or await desk.pending.stat(exchange):
            continue  # Handed in, and not taken yet.
        created = created_of(exchange) or 0.0
        ticket = await tickets.read(desk.tickets, exchange)
        # Programs may be between ticket and original; so may this life's intake, but no earlier's.
        if created < time.time() - _DEAD or (not ticket.reply and created < began):
            yield name


async def _in_turns(names: Sequence[str]) -> AsyncIterator[str]:
    for number, name in enumerate(names, 1):
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        yield name
