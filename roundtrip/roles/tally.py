"""What a role has done since its agent began, in figures: for metrics, and for nothing else."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

from roundtrip.protocol.markers import Outcome

BOUNDS = (
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
    3600.0,
    14400.0,
    86400.0,
)
"""Upper bounds in seconds of the classes that durations are counted in; one more has none."""


class Tally:
    """Counts of one role. `listed` is what the last full listing found, by state."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.bytes = {"in": 0, "out": 0}
        self.published = 0
        self.refused = 0
        self.withdrawn = 0
        self.work: Counter[str] = Counter()
        self.durations = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.listed: dict[str, int] = {}
        self.removed: Counter[str] = Counter()  # files that cleaning removed, by folder
        self.removed_bytes: Counter[str] = Counter()

    def publish(self, size: int) -> None:
        """A payload of `size` bytes was put on a share, complete with its marker."""
        self.published += 1
        self.bytes["out"] += size

    def done(self, outcome: Outcome | None, seconds: float | None) -> None:
        """An exchange has its answer, after so many seconds if that is known."""
        if outcome is not None:
            self.outcomes[outcome] += 1
        if seconds is not None:
            seconds = max(seconds, 0.0)  # The clock may have been set back.
            self.durations[bisect_left(BOUNDS, seconds)] += 1
            self.seconds += seconds

    def meter(self) -> Callable[[Mapping[str, float]], None]:
        """Counts one run's work as it goes on: to be called with its sums so far."""
        before: dict[str, float] = {}

        def count(sums: Mapping[str, float]) -> None:
            for key, value in sums.items():
                self.work[key] += int(value - before.get(key, 0))
                before[key] = value

        return count
