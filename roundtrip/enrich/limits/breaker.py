"""The circuit breaker of a host: after failures in a row nobody calls it, then one as a probe.

closed --failures in a row--> open --pause--> half-open --probe fails--> open, twice the pause
  ^------------------------------------ any success ------+
"""

from __future__ import annotations

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.settings import Breaker as Settings

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """The state, without a clock: whoever holds it waits the pause and says so."""

    __slots__ = ("_failures", "_pause", "_settings", "last", "probing", "since", "state")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = 0
        self._pause = settings.pause
        self.state = CLOSED
        self.probing = False
        self.since: float | None = None  # the first failure since the last success
        self.last: RecordFault | None = None

    @property
    def lets_through(self) -> bool:
        """Whether a call may be made."""
        return self.state == CLOSED or (self.state == HALF_OPEN and not self.probing)

    def take(self) -> bool:
        """A call is made; whether it is the probe."""
        if self.state == CLOSED:
            return False
        self.probing = True
        return True

    def give_back(self, probe: bool) -> None:
        """A call ended and said nothing of the host: cancelled, or this host's own trouble."""
        if probe:
            self.probing = False

    def succeeded(self, probe: bool) -> None:
        """The host answered; also a call that was made before the others failed."""
        self.give_back(probe)
        self._failures = 0
        self.since = self.last = None
        self.state = CLOSED
        self._pause = self._settings.pause

    def failed(self, probe: bool, fault: RecordFault, now: float) -> float | None:
        """A call failed. Returns the seconds to pause when this opens it, then `half_open`."""
        self.give_back(probe)
        self._failures += 1
        self.last = fault
        if self.since is None:
            self.since = now
        if probe and self.state == HALF_OPEN:
            self._pause = min(2 * self._pause, self._settings.max_pause)
        elif self.state != CLOSED or not 0 < self._settings.failures <= self._failures:
            return None
        self.state = OPEN
        return self._pause

    def half_open(self) -> None:
        """The pause is over."""
        if self.state == OPEN:
            self.state = HALF_OPEN
