"""What a step, or a host with one credential, allows: so many at once, so fast, so many a day."""

from __future__ import annotations

import math

from roundtrip.enrich.limits.pace import Pace
from roundtrip.enrich.limits.quota import Quotas
from roundtrip.enrich.limits.share import Share
from roundtrip.enrich.limits.turns import Turns
from roundtrip.enrich.run import Wait
from roundtrip.enrich.settings import StepSettings


class Bounds:
    """Slots, rate and quotas."""

    __slots__ = ("in_flight", "limit", "pace", "quotas")

    def __init__(self, limit: int, pace: Pace | None) -> None:
        self.limit = limit
        self.in_flight = 0
        self.pace = pace
        self.quotas: Quotas | None = None

    def opens(self, now: float) -> float:
        """When there is room, on the loop's clock; infinite: when something else happens first."""
        if self.in_flight >= self.limit:
            return math.inf
        at = now if self.pace is None else self.pace.opens()
        if self.quotas is not None and at <= now:
            at = now + self.quotas.wait()
        return at

    def take(self, now: float) -> None:
        """A call begins; only after `opens` said now."""
        self.in_flight += 1
        if self.pace is not None:
            self.pace.take(now)
        if self.quotas is not None:
            self.quotas.take()

    def notice(self) -> Wait | None:
        """What is waited for longer than usual."""
        return self.quotas.notice() if self.quotas is not None else None

    @property
    def step(self) -> float:
        """Seconds between two looks whether there is room again, at least."""
        return self.pace.step if self.pace is not None else 0.0


class Queue:
    """One step's place in a lane: its own bounds, and the calls that wait for their turn."""

    __slots__ = ("bounds", "settings", "turns")

    def __init__(self, settings: StepSettings) -> None:
        self.settings = settings
        self.bounds = Bounds(settings.concurrency, Pace(settings.rate) if settings.rate else None)
        self.turns = Turns()

    def share(self, share: Share, *, calls_host: bool) -> None:
        """Keep to a part of the limits; how much runs at once is the host's, if one is called."""
        if calls_host:
            self.bounds.limit = share.calls(self.settings.concurrency)
        if self.bounds.pace is not None:
            self.bounds.pace.divide(share.of)
