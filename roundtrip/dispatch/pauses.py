"""Growing pauses between attempts at something that is away, the same for everybody here."""

from __future__ import annotations

import random

FIRST, LONGEST = 0.5, 30.0  # seconds


class Pauses:
    """0.5 s, then twice as long each time up to 30 s; up to a quarter less, lest all agree."""

    def __init__(self) -> None:
        self._next = FIRST

    def next(self) -> float:
        """The next pause in seconds."""
        pause, self._next = self._next, min(self._next * 2, LONGEST)
        return pause * random.uniform(0.75, 1.0)

    def reset(self) -> None:
        """It worked: begin small the next time."""
        self._next = FIRST
