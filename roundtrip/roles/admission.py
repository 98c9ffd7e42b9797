"""Back-pressure on A: how much may be under way at once, and in which order the rest follows.

    outbox/ --Entrance: limits.pending, A's disk--> pending/ --Window: limits.in_flight_*--> shares

Who waits costs nothing: it is looked at once more when there is a place for it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from roundtrip.protocol.names import is_canary
from roundtrip.protocol.states import Names
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.space import Disk, Parked, Room, in_words
from roundtrip.roles.telling import Telling
from roundtrip.shares.port import Entry, Folder, SharedFolder

_ASIDE = 64  # exchanges that may be too large at one time before all others wait as well
_CALLED = 256  # exchanges that are called at once; each that was looked at calls the next
_AT_ONCE = 16  # files of the outbox that are called at once, as many as it takes in at once


class Window:
    """Which exchanges are in flight: `exchanges` of them with `size` bytes of payload at most.

    One may always be, however large. Those that wait are called in the order of their names. One
    that is too large for now steps aside, and smaller ones pass it, as many as may be in flight;
    then nothing new is called until it fits: neither waits for ever.
    """

    def __init__(self, exchanges: int, size: int) -> None:
        self._exchanges = exchanges
        self._size = size
        self.in_flight: dict[str, int] = {}
        self.bytes = 0
        self._line: list[str] = []
        self._lined: set[str] = set()
        self._called: set[str] = set()
        self._aside: dict[str, int] = {}
        self._passed = 0

    @property
    def waiting(self) -> int:
        """How many exchanges wait for a place and haven't been called."""
        return len(self._lined) + len(self._aside)

    def waits(self, name: str) -> bool:
        """Whether an exchange waits, and hasn't been called."""
        return name in self._lined or (name in self._aside and name not in self._called)

    def may_ask(self, name: str) -> bool:
        """Whether it is this exchange's turn to ask for a place; if not, it waits from now on."""
        if name in self.in_flight or name in self._called:
            return True
        if name in self._aside:
            return False
        if not self._lined and self._places() > 0:
            return True
        self.line_up([name])
        return False

    def line_up(self, names: Iterable[str]) -> None:
        """Let exchanges wait that neither wait nor are in flight."""
        new = [name for name in names if not self._knows(name)]
        self._lined.update(new)
        if len(new) > len(self._line):
            self._line += new
            heapq.heapify(self._line)
        else:
            for name in new:
                heapq.heappush(self._line, name)

    def _knows(self, name: str) -> bool:
        waits = name in self._lined or name in self._aside
        return waits or name in self.in_flight or name in self._called

    def _call_aside(self) -> list[str]:
        """One of those that stepped aside, if it fits now; the next one once it has its place."""
        aside = sorted(self._aside)
        if self._called.intersection(aside):
            return []
        candidates = aside[:1] if self._is_draining() else aside
        return [name for name in candidates if self._fits(self._aside[name])][:1]

    def _places(self) -> int:
        """How many exchanges may be called that haven't stepped aside."""
        if self._is_draining():
            return 0
        called = len(self._called)
        return min(self._exchanges - len(self.in_flight) - called, _CALLED - called)

    def _is_draining(self) -> bool:
        """Whether everybody waits for the first of those that stepped aside."""
        is_passed = self._passed >= self._exchanges or len(self._aside) >= _ASIDE
        return bool(self._aside) and is_passed

    def _fits(self, size: int) -> bool:
        if not self.in_flight:
            return True
        return len(self.in_flight) < self._exchanges and self.bytes + size <= self._size

    def enter(self, name: str, size: int) -> bool:
        """Take a place for an exchange with `size` bytes of payload; without one, it waits."""
        self._called.discard(name)
        if name in self.in_flight or self._fits(size):
            self.resume(name, size)
            return True
        if name not in self._aside and len(self.in_flight) >= self._exchanges:
            self.line_up([name])
        else:
            self._aside[name] = size
        return False

    def resume(self, name: str, size: int) -> None:
        """An exchange is in flight, whether there was a place for it or not."""
        self._lined.discard(name)
        if self._aside and name not in self.in_flight:
            self._passed = 0 if name == min(self._aside) else self._passed + 1
        self._aside.pop(name, None)
        self.bytes += size - self.in_flight.get(name, 0)
        self.in_flight[name] = size

    def leave(self, name: str) -> None:
        """An exchange is over, or not wanted any more."""
        self._lined.discard(name)
        self._called.discard(name)
        self._aside.pop(name, None)
        self.bytes -= self.in_flight.pop(name, 0)

    def release(self, name: str) -> None:
        """An exchange that was called has been looked at: if it took no place, another may."""
        self._called.discard(name)

    def call(self) -> list[str]:
        """Those whose turn it is now."""
        called = self._call_aside()
        places = self._places() - len(called)
        while places > 0 and self._lined:
            name = heapq.heappop(self._line)
            if name in self._lined:
                self._lined.discard(name)
                called.append(name)
                places -= 1
        self._called.update(called)
        return called


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


@dataclass(frozen=True, slots=True)
class InFlight:
    """How much may be published and not yet collected."""

    exchanges: int = 10_000
    size: int = 10 * 1024**3


class Admission:
    """Everything that an exchange of A must pass before it is published, and what it leaves."""

    def __init__(
        self,
        limits: InFlight,
        *,
        away: Room,
        home: Room,
        entrance: Entrance,
        health: Health,
        wake: Callable[[str], None],
    ) -> None:
        self.away = away
        self.home = home
        self.entrance = entrance
        self.window = Window(limits.exchanges, limits.size)
        self._limits = limits
        self._telling = Telling(health, "in_flight", Severity.NOTICE, self._text)
        self._wake = wake

    @classmethod
    def unlimited(cls, away: SharedFolder, home: Folder) -> Admission:
        """Whatever comes is published, as long as there is room for it."""
        health = Health()
        room = Room(Disk("state", ""), home, 0, health)
        return cls(
            InFlight(2**63, 2**63),
            away=Room(Disk("unenriched", ""), away, 0, health),
            home=room,
            entrance=Entrance(None, room, health),
            health=health,
            wake=lambda exchange: None,
        )

    async def start(self, pending: Folder) -> None:
        """Count what an earlier life has taken in."""
        await self.entrance.start(pending)

    async def recount(
        self, found: Mapping[str, Names], pending: set[str], folder: Folder
    ) -> set[str]:
        """See from a listing of the shares what is in flight; returns those that wait.

        Raises:
            OSError: A's disk can't be asked.
        """
        window = self.window
        for name in window.in_flight.keys() - pending:
            window.leave(name)
        for name in found.keys() & pending - window.in_flight.keys():
            entry = await folder.stat(name) if found[name].request_marker else None
            if entry is not None and not is_canary(name):
                window.resume(name, entry.size)
        absent = {name for name in pending - found.keys() if not is_canary(name)}
        window.line_up(sorted(absent))
        await self.home.check()
        await self.away.check()
        self.call()
        return {name for name in absent if window.waits(name) or self.away.holds(name)}

    @asynccontextmanager
    async def publication(self, exchange: str, pending: Folder) -> AsyncIterator[None]:
        """The publishing of an exchange, in the body of a `with`.

        Raises:
            Parked: it has to wait; it is woken later.
            FileNotFoundError: its original has gone.
        """
        size = await self._enter(exchange, pending)
        try:
            async with self.away.claim(exchange, size):
                yield
        except Parked:
            # A large one lets smaller ones have its place; where nothing fits, that is no use.
            if not self.away.is_short:
                self.window.leave(exchange)
            raise

    async def _enter(self, exchange: str, pending: Folder) -> int:
        """Take a place in flight; returns the size of the original in bytes.

        Raises:
            Parked: others come first, or it is too large for now; it is woken later.
            FileNotFoundError: its original has gone.
        """
        counts = not is_canary(exchange)
        if counts and not self.window.may_ask(exchange):
            self.tell()
            raise Parked
        entry = await pending.stat(exchange)
        if entry is None:
            raise FileNotFoundError(exchange)
        if counts and not self.window.enter(exchange, entry.size):
            self.call()
            raise Parked
        return entry.size

    def looked(self, exchange: str, *, wanted: bool) -> None:
        """The look at an exchange is over."""
        if wanted:
            self.window.release(exchange)
        else:
            self.window.leave(exchange)
            self.away.leave(exchange)
            self.home.leave(exchange)
            self.entrance.answered(exchange)
        self.call()

    def call(self) -> None:
        """Wake those whose turn it is now."""
        if self.window.waiting:
            for name in self.window.call():
                self._wake(name)
        self.tell()

    def tell(self) -> None:
        """Say that exchanges wait, or that none do."""
        self._telling.update(holds=bool(self.window.waiting))

    def _text(self) -> str:
        window, limits = self.window, self._limits
        return (
            f"{window.waiting} exchanges wait in state/pending: {len(window.in_flight)} with "
            f"{in_words(window.bytes)} are published and not answered yet, and "
            f"limits.in_flight_exchanges is {limits.exchanges}, limits.in_flight_bytes "
            f"{in_words(limits.size)}; each answer lets the next ones go"
        )

    def stop(self) -> None:
        """Look at no disk any more."""
        for each in (self.away, self.home, self.entrance, self._telling):
            each.stop()
