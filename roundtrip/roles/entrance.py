"""Which files come in from the outbox, and which wait there for answers or for room on A's disk."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from roundtrip.roles.health import Health, Severity
from roundtrip.roles.line import Parked
from roundtrip.roles.room import Room
from roundtrip.roles.space import in_words
from roundtrip.roles.telling import Telling
from roundtrip.shares.port import Entry, Folder

_AT_ONCE = 16  # files of the outbox that are called at once, as many as it takes in at once


class Entrance:
    """Lets files in from the outbox, the oldest first, while there is room for them and theirs.

    `limit` is how many bytes of originals may be pending; one may always be, however large.
    """

    def __init__(self, limit: int | None, home: Room, health: Health) -> None:
        self.wake: Callable[[str], None] = lambda key: None
        self._limit = limit
        self._home = home
        self._telling = Telling(health, "pending", Severity.NOTICE, self._text)
        self._pending: dict[str, int] = {}
        self._coming: dict[str, Entry] = {}
        self._bytes = 0
        self._line: list[tuple[int, str, int]] = []
        self._lined: set[str] = set()
        self._called: set[str] = set()
        self._is_blocked = False

    async def start(self, pending: Folder) -> None:
        """Count what an earlier life has taken in."""
        if self._limit is None:
            return
        found = await asyncio.to_thread(lambda: list(pending.scan()))
        self._pending = {each.name: each.size for each in found}
        self._bytes = sum(self._pending.values())

    def waits(self, key: str) -> bool:
        """Whether a file waits to be taken in: it need not be looked at."""
        return key in self._lined

    @property
    def is_limited(self) -> bool:
        """Whether it matters in which order files ask."""
        return self._limit is not None

    async def enter(self, key: str, entry: Entry) -> bool:
        """Let a file in; if it has to wait, it is woken when its turn comes.

        Raises:
            OSError: the disk can't be asked.
        """
        was_called = key in self._called
        self._called.discard(key)
        if (self._lined and not was_called) or self._is_blocked or not self._fits(entry.size):
            self._line_up(key, entry)
            return False
        self._bytes += entry.size
        self._coming[key] = entry
        try:
            await self._home.ask("intake", 0, wake=self._unblock)
        except Parked:
            self._is_blocked = True
            self._line_up(key, entry)
            self._give_back(key)
            return False
        return True

    def _give_back(self, key: str) -> None:
        if entry := self._coming.pop(key, None):
            self._bytes -= entry.size

    def _fits(self, size: int) -> bool:
        return self._limit is None or not self._bytes or self._bytes + size <= self._limit

    def _line_up(self, key: str, entry: Entry) -> None:
        if key not in self._lined:
            self._lined.add(key)
            heapq.heappush(self._line, (entry.changed, key, entry.size))
        self._tell()

    def _unblock(self, _: str) -> None:
        self._is_blocked = False
        self.call()

    def entered(self, key: str, exchange: str) -> None:
        """A file that was let in is an exchange now."""
        if self._limit is None:
            self._give_back(key)
        elif entry := self._coming.pop(key, None):
            self._pending[exchange] = entry.size
        self._home.succeeded()

    def refused(self, key: str, error: OSError) -> bool:
        """The disk was full after all; False if the file is an exchange already, or wasn't let in.

        Otherwise it waits like those that come after it.
        """
        entry = self._coming.get(key)
        if entry is None:
            return False
        self._is_blocked = True
        self._home.refused("intake", error, wake=self._unblock)
        self._line_up(key, entry)
        return True

    def left(self, key: str) -> None:
        """The look at a file is over; if it wasn't taken, another may be."""
        self._called.discard(key)
        self._give_back(key)
        self.call()

    def answered(self, exchange: str) -> None:
        """An original is pending no more."""
        size = self._pending.pop(exchange, None)
        if size is not None:
            self._bytes -= size
            self.call()

    def call(self) -> None:
        """Wake those whose turn it is now."""
        while self._line and not self._is_blocked and len(self._called) < _AT_ONCE:
            _, key, size = self._line[0]
            if key in self._lined and not self._fits(size):
                break
            heapq.heappop(self._line)
            if key in self._lined:
                self._lined.discard(key)
                self._called.add(key)
                self.wake(key)
        self._tell()

    def _tell(self) -> None:
        self._telling.update(holds=bool(self._lined) and not self._is_blocked)

    def stop(self) -> None:
        """Tell of nothing any more."""
        self._telling.stop()

    def _text(self) -> str:
        return (
            f"files wait in the outbox: {in_words(self._bytes)} of originals have no answer yet, "
            f"and limits.pending is {in_words(self._limit or 0)}; they are taken in as answers come"
        )
