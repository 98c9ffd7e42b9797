"""Whether a receiver is there: while it is away it is asked seldom, and by one parcel at a time."""

from __future__ import annotations

from collections.abc import Callable


class Presence:
    """What is known of one receiver. `trouble` is told why it is away, and None when it is not.

    Times are those of one clock that goes on evenly.
    """

    def __init__(
        self, trouble: Callable[[str | None], None], pause: Callable[[int], float], longest: float
    ) -> None:
        """`pause` is how long to wait after so many failures, `longest` the most in any case."""
        self._trouble = trouble
        self._pause = pause
        self._longest = longest
        self._failures = 0  # in a row
        self.reason = ""
        self.not_before = 0.0

    @property
    def is_away(self) -> bool:
        """Whether it could not be reached when it was asked last."""
        return self._failures > 0

    def missed(self, reason: str, now: float, after: float | None = None) -> None:
        """It was asked in vain; those that fail together make the pause longer once.

        `after` is the pause that it has asked for itself.
        """
        self.reason = reason
        self._trouble(reason)
        if now >= self.not_before:
            self._failures += 1
            rest = max(self._pause(self._failures), after or 0.0)
            self.not_before = now + min(rest, self._longest)

    def reached(self) -> None:
        """It is there, whatever it said."""
        self._failures, self.reason = 0, ""
        self.hasten()
        self.settle()

    def hasten(self) -> None:
        """Ask it now, even if it was away."""
        self.not_before = 0.0

    def settle(self) -> None:
        """Nothing waits for it."""
        self._trouble(None)
