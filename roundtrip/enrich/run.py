"""`Run`: one payload on its way through a pipeline; what its calls need to know, and tell."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from roundtrip.enrich.faults import StepFault
from roundtrip.enrich.results import Progress, Stats
from roundtrip.enrich.settings import Rate
from roundtrip.enrich.store.port import Store

PARTING = 3.0  # seconds that a call is given which nobody waits for any more

LATEST = 253_402_300_800.0  # the year 10,000, which datetime doesn't have; Unix time


@dataclass(frozen=True, slots=True)
class Wait:
    """What a payload's calls wait for: a sentence, and until when (Unix time) if that is known.

    `then` is how many calls are let through after that, in each so many seconds: a quota.
    """

    reason: str
    until: float | None = None
    then: Rate | None = None

    def ends(self, calls: float) -> float | None:
        """When the last of `calls` more calls will have been let through; None if unknown."""
        if self.until is None or self.then is None:
            return None
        windows = math.ceil(calls / self.then.calls)
        return self.until + max(0, windows - 1) * self.then.seconds


@dataclass(slots=True, eq=False)
class Run:
    """One payload's run. Limits share their turns among runs, not among calls.

    `exchange` is the ledger's scope. `waits` holds what calls wait for beyond the usual, by the
    limit that makes them wait; it is shown as the payload's progress. `dead` are the steps that
    can't work for any of its records, by name: no more calls are made. `sent` are the tasks that
    wait for an answer just now. `part` is which of the steps has the whole payload, and of how
    many; `told` how far all of them are, if one has said so.
    """

    exchange: str
    store: Store
    stats: Stats = field(default_factory=Stats)
    waits: dict[object, Wait] = field(default_factory=dict)
    dead: dict[str, StepFault] = field(default_factory=dict)
    sent: set[asyncio.Task[Any] | None] = field(default_factory=set)
    part: tuple[int, int] = (0, 1)
    told: float | None = None

    def tell(self, share: float) -> None:
        """A step that has the whole payload says how far it is, from 0 to 1."""
        step, steps = self.part
        self.told = (step + min(max(share, 0.0), 1.0)) / steps

    async def end(
        self, task: asyncio.Task[None], wanted: Callable[[], object] = lambda: False
    ) -> None:
        """End a task that makes calls, and wait for that, unless it is `wanted` again meanwhile.

        What is sent may be paid for, so its answer gets a little time to come and be recorded.
        """
        until = time.monotonic() + PARTING
        try:
            while task in self.sent and time.monotonic() < until:
                await asyncio.wait([task], timeout=0.05)
        finally:
            if not wanted():
                task.cancel()
                await asyncio.wait([task])

    def progress(self, done: float) -> Progress:
        """How far the payload is, and the longest of what its calls wait for."""
        stats, done = replace(self.stats), done if self.told is None else self.told
        if not self.waits:
            return Progress(done, stats)
        wait = max(self.waits.values(), key=lambda wait: wait.until or 0.0)
        made = stats.calls + stats.cached  # after a restart, those made before it count as cached
        ends = wait.ends(made * (1 - done) / done) if done else None
        reason = wait.reason
        if ends is not None and wait.until is not None and wait.until < ends < LATEST:
            day = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
            reason += f"; at that rate the last calls can be made about {day}"
        return Progress(done, stats, reason, wait.until)
