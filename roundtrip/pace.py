"""How fast an exchange gets on and how long it will take: by the clock of whoever looks.

The hosts' clocks need not agree, so B's times of day are never compared with ours. What B says of
its own duration is used until two looks of our own have been taken.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from roundtrip.protocol.progress import ProgressNote

WINDOW = 30.0  # seconds that the present pace is measured over


class _Look(NamedTuple):
    at: float
    done: float
    records: int


class Pace:
    """The looks at one exchange's progress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[_Look] = deque()
        self._last: ProgressNote | None = None

    def add(self, note: ProgressNote) -> None:
        """Take a look at a note; the one seen before adds nothing."""
        if note == self._last:
            return
        if self._last is not None and note.done < self._last.done:
            self._looks.clear()  # B began anew.
        self._last = note
        self._looks.append(_Look(self._clock(), note.done, note.records))
        while len(self._looks) > 1 and self._looks[0].at < self._looks[-1].at - WINDOW:
            self._looks.popleft()

    def told(self, note: ProgressNote) -> dict[str, Any]:
        """What a program is told of a note, once that is added: all it says, `rate` and `left`."""
        self.add(note)
        rate, left = self.rate, self.left
        return {
            **json.loads(note.encode()),
            "rate": None if rate is None else round(rate, 1),
            "left": None if left is None else round(left, 1),
        }

    @property
    def rate(self) -> float | None:
        """Records a second; None if it can't be told, or if the payload has no records."""
        seconds, _, records = self._passed()
        return records / seconds if seconds > 0 and records else None

    @property
    def left(self) -> float | None:
        """Seconds until it is done if it goes on like this; None if that can't be told."""
        seconds, done, _ = self._passed()
        if self._last is None or seconds <= 0 or done <= 0:
            return None
        return seconds * (1.0 - self._last.done) / done

    def _passed(self) -> _Look:
        """How long the pace was measured, and what was done in that time."""
        if self._last is None:
            return _Look(0.0, 0.0, 0)
        first, last = self._looks[0], self._looks[-1]
        if last.at > first.at:
            return _Look(last.at - first.at, last.done - first.done, last.records - first.records)
        return _Look(self._last.seconds, self._last.done, self._last.records)
