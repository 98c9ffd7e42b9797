"""A rate, spread evenly: when the next call may go."""

from __future__ import annotations

import math

from roundtrip.enrich.settings import Rate

TICK = 0.01  # seconds; a timer that fires more often than this is late more than it is right


class Pace:
    """The generic cell rate algorithm (ITU-T I.371): one call each `seconds / calls`.

    Up to a tick's calls may go together, so that a late timer loses nothing: in any period of
    `seconds` there are at most `calls` and one tick's calls.
    """

    __slots__ = ("_due", "_every", "_rate", "_slack", "step")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._due = -math.inf
        self.divide(1)

    def divide(self, parts: int) -> None:
        """From now on, keep to one of so many equal parts of the rate."""
        rate = self._rate
        self._every = parts * rate.seconds / rate.calls
        burst = max(1, math.floor(rate.calls * TICK / (parts * rate.seconds)))
        self._slack = (burst - 1) * self._every
        # half a tick: late by the other half, a timer still loses nothing
        self.step = TICK / 2 if burst > 1 else 0.0  # seconds; waking more often is not worth it

    def opens(self) -> float:
        """When the next call may go, on the clock of `take`."""
        return self._due - self._slack

    def take(self, now: float) -> None:
        """A call goes now."""
        self._due = max(self._due, now) + self._every
