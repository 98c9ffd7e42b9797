"""Whose turn it is: those that wait, in a line for each run, and the runs take turns.

A run with thousands that wait delays a run with one by a single turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from roundtrip.enrich.run import Run, Wait

Waiter = asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class _Line:
    """One run's waiters, in order."""

    run: Run
    waiters: OrderedDict[Waiter, None] = field(default_factory=OrderedDict)


class Turns:
    """The waiters of one step. All takes constant time but to forget a run's last."""

    __slots__ = ("_lines", "_notice", "_ring", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._lines: dict[Run, _Line] = {}
        self._ring: deque[_Line] = deque()
        self._notice: Wait | None = None

    def add(self, run: Run, waiter: Waiter, *, first: bool) -> None:
        """Queue a waiter, `first` of its run or last."""
        line = self._lines.get(run)
        if line is None:
            line = self._lines[run] = _Line(run)
            self._ring.append(line)
            if self._notice is not None:
                run.waits[self] = self._notice
        line.waiters[waiter] = None
        if first:
            line.waiters.move_to_end(waiter, last=False)
        self.waiting += 1

    def take(self) -> Waiter | None:
        """The next waiter, of the run whose turn it is; None when nobody waits any more."""
        while self._ring:
            line = self._ring.popleft()
            waiter, _ = line.waiters.popitem(last=False)
            self.waiting -= 1
            if line.waiters:
                self._ring.append(line)
            else:
                self._left(line)
            if not waiter.done():  # cancelled, and its owner has not had the time to say so
                return waiter
        return None

    def forget(self, run: Run, waiter: Waiter) -> None:
        """This one is cancelled."""
        line = self._lines.get(run)
        if line is None or waiter not in line.waiters:
            return  # passed over already
        del line.waiters[waiter]
        self.waiting -= 1
        if not line.waiters:
            self._ring.remove(line)
            self._left(line)

    def clear(self) -> Iterator[Waiter]:
        """Take them all."""
        while (waiter := self.take()) is not None:
            yield waiter

    def notify(self, notice: Wait | None) -> None:
        """Tell the runs what they wait for, beyond their turn."""
        if notice == self._notice:
            return
        self._notice = notice
        for run in self._lines:
            if notice is None:
                run.waits.pop(self, None)
            else:
                run.waits[self] = notice

    def _left(self, line: _Line) -> None:
        del self._lines[line.run]
        line.run.waits.pop(self, None)
