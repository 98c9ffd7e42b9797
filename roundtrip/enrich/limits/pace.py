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

    __slots__ = ("_due", "_every", "_slack", "step")

    def __init__(self, rate: Rate) -> None:
        self._every = rate.seconds / rate.calls
        burst = max(1, math.floor(rate.calls * TICK / rate.seconds))
        self._slack = (burst - 1) * self._every
        self._due = -math.inf
        # half a tick: late by the other half, a timer still loses nothing
        self.step = TICK / 2 if burst > 1 else 0.0  # seconds; waking more often is not worth it

    def opens(self) -> float:
        """When the next call may go, on the clock of `take`."""
        return self._due - self._slack

    def take(self, now: float) -> None:
        """A call goes now."""
        self._due = max(self._due, now) + self._every
