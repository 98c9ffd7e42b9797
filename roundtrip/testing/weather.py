"""What goes wrong at one host, and when: all decisions, by one seeded generator."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from enum import Enum

from roundtrip.testing.faults import FULL, LOCAL, REPEATED, TRANSIENT, UNCERTAIN, Faults


class Access(Enum):
    """How a host reaches a folder."""

    PRIVATE = "private"
    HOME = "home"
    """A share on its own disk."""
    MOUNT = "mount"
    """A share on the other host's disk."""


class Fate(Enum):
    """What becomes of one operation."""

    GOOD = ""
    BEFORE = "fails"
    AFTER = "reply lost"
    LATE = "times out, lands later"
    PARTIAL = "fails, leaves its part"
    TORN = "torn"
    SLOW = "arrives slowly"
    KILL_BEFORE = "killed before"
    KILL_DURING = "killed during"
    KILL_AFTER = "killed after"


FILLING = ("put", "write", "replace", "move away")
"""Operations that take room, if only for a longer folder."""
_PUTS_ONLY = (Fate.PARTIAL, Fate.TORN, Fate.SLOW)
_Table = list[tuple[float, Fate]]


def _table(*rates: tuple[float, Fate]) -> _Table:
    """Cumulated rates, so that one number picks a fate."""
    table: _Table = []
    total = 0.0
    for rate, fate in rates:
        if rate:
            total += rate
            table.append((total, fate))
    return table


class Window:
    """Times during which something is the case, at random but for how often and how long."""

    def __init__(self, dice: random.Random, every: float, lasts: float) -> None:
        self._dice = dice
        self._every = every
        self._lasts = lasts
        self._begin = self._end = float("inf")
        self.number = 0
        if every:
            self._next(0.0)

    def _next(self, now: float) -> None:
        self.number += 1
        self._begin = now + self._dice.expovariate(1 / self._every)
        self._end = self._begin + self._dice.uniform(0.1, 1.0) * self._lasts

    def left(self, now: float) -> float:
        """How long it still lasts; 0 if it isn't the case now."""
        while now >= self._end:
            self._next(self._end)
        return self._end - now if now >= self._begin else 0.0


class Weather:
    """Decides about one host's operations. `is_over` ends all faults but lag, which is no fault."""

    def __init__(self, faults: Faults, dice: random.Random, clock: Callable[[], float]) -> None:
        self.faults = faults
        self.dice = dice
        self.clock = clock
        self.is_over = False
        self._cut = Window(dice, faults.cut_every, faults.cut_for)
        self._full = Window(dice, faults.full_every, faults.full_for)
        kill = (faults.kill, Fate.KILL_BEFORE)
        kills = [
            (faults.kill / 3, fate)
            for fate in (Fate.KILL_BEFORE, Fate.KILL_DURING, Fate.KILL_AFTER)
        ]
        local = ((faults.local / 2, Fate.BEFORE), (faults.local / 2, Fate.AFTER))
        self._looks = {
            Access.MOUNT: _table((faults.before, Fate.BEFORE), kill),
            Access.HOME: _table((faults.local, Fate.BEFORE), kill),
            Access.PRIVATE: _table((faults.local, Fate.BEFORE), kill),
        }
        mounted = (
            (faults.before, Fate.BEFORE),
            (faults.after, Fate.AFTER),
            (faults.late, Fate.LATE),
            (faults.partial, Fate.PARTIAL),
            (faults.torn, Fate.TORN),
            (faults.slow, Fate.SLOW),
        )
        self._mutations = {
            Access.MOUNT: _table(*mounted, *kills),
            Access.HOME: _table(*local, *kills),
            Access.PRIVATE: _table(*local, *kills),
        }

    def fate(self, access: Access, verb: str, *, mutates: bool) -> Fate:
        """What becomes of an operation."""
        if self.is_over:
            return Fate.GOOD
        table = (self._mutations if mutates else self._looks)[access]
        number = self.dice.random()
        for limit, fate in table:
            if number < limit:
                return Fate.GOOD if fate in _PUTS_ONLY and verb != "put" else fate
        return Fate.GOOD

    def cut(self) -> float:
        """For how long the mount is still cut; 0 if it works."""
        return 0.0 if self.is_over else self._cut.left(self.clock())

    def is_full(self) -> bool:
        """Whether the disks of this host's world are full now."""
        return not self.is_over and self._full.left(self.clock()) > 0

    def shows_full(self) -> bool:
        """Whether statvfs(3) says so, too: quotas and inodes don't show there."""
        return self.is_full() and self._full.number % 2 == 0

    def error(self, access: Access, verb: str, fate: Fate) -> OSError:
        """What the caller is told."""
        is_mount = access is Access.MOUNT
        numbers: tuple[int, ...] = TRANSIENT if is_mount else LOCAL
        if fate is Fate.LATE:
            numbers = (errno.ETIMEDOUT, errno.EIO)
        elif fate is Fate.AFTER:
            numbers = UNCERTAIN + REPEATED.get(verb, ()) if is_mount else LOCAL
        elif verb in FILLING:
            numbers += FULL
        return failure(self.dice.choice(numbers))

    def damaged(self, content: bytes) -> bytes:
        """What a torn write leaves of a content, or a torn read gets."""
        length = int(len(content) * self.dice.random())
        kind = self.dice.randrange(4)
        if kind == 0:
            return content[:length]
        if kind == 1:
            return b""
        if kind == 2:
            return content[:length] + bytes(len(content) - length)
        return content[:length] + b"?" + content[length + 1 :]


def failure(number: int) -> OSError:
    """The OSError of an errno, of the right subclass."""
    return OSError(number, f"{os.strerror(number)} (injected)")
