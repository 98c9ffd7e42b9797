"""The window of exchanges in flight: who has a place in it, and who is called next."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

_ASIDE = 64  # exchanges that may be too large at one time before all others wait as well
_CALLED = 256  # exchanges that are called at once; each that was looked at calls the next


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
