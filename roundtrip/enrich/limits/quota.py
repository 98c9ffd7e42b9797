"""Quotas of a calendar minute, day and month (UTC), counted so that a restart never exceeds them.

Calls are reserved in blocks, durably, before they are made: a crash wastes the rest of a block.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from roundtrip.enrich.run import Wait
from roundtrip.enrich.settings import Quota, Rate
from roundtrip.enrich.store.port import Counters

BLOCK = 50  # calls, and at most a hundredth of the quota
MINUTE, DAY = 60, 86400  # seconds
LENGTHS = {"minute": MINUTE, "day": DAY, "month": 30.5 * DAY}


@dataclass(frozen=True, slots=True)
class Spent:
    """One quota's use: calls made or about to be, of `limit`; `until` is Unix time."""

    name: str
    window: str  # minute | day | month
    calls: int
    limit: int
    until: float


@dataclass(slots=True)
class _Window:
    """The current minute, day or month; `left` of the `reserved` calls are still to be made."""

    unit: str
    limit: int
    name: str = ""
    end: float = -math.inf
    reserved: int = 0
    left: int = 0

    @property
    def spent(self) -> bool:
        return not self.left and self.reserved >= self.limit

    @property
    def block(self) -> int:
        return min(max(1, min(BLOCK, self.limit // 100)), self.limit - self.reserved)


class Quotas:
    """The quotas of one step or one host and credential; `name` is how people call it."""

    def __init__(
        self,
        name: str,
        counter: str,
        quota: Quota,
        counters: Counters,
        now: Callable[[], float],
        changed: Callable[[Exception | None], None],
    ) -> None:
        """`now` is Unix time; `changed` is called when a block has come, or with why it hasn't."""
        self._name = name
        self._counter = counter
        self._counters = counters
        self._now = now
        self._changed = changed
        units = (("month", quota.month), ("day", quota.day), ("minute", quota.minute))
        self._windows = [_Window(unit, limit) for unit, limit in units if limit is not None]
        self._leasing: asyncio.Task[None] | None = None

    def wait(self) -> float:
        """Seconds until a call may be made: 0 now, infinite until `changed` is called."""
        now = self._now()
        self._roll(now)
        if any(window.spent for window in self._windows):
            return max(window.end - now for window in self._windows if window.spent)
        empty = next((window for window in self._windows if not window.left), None)
        if empty is None:
            return 0.0
        if self._leasing is None:
            self._leasing = asyncio.get_running_loop().create_task(self._lease(empty))
        return math.inf

    def take(self) -> None:
        """A call is made; only after `wait` said 0."""
        for window in self._windows:
            window.left -= 1

    def notice(self) -> Wait | None:
        """What is spent, and until when; the one that lasts longest."""
        for window in self._windows:
            if window.spent:
                reason = f"{window.unit} quota of {self._name} is spent"
                return Wait(reason, window.end, Rate(window.limit, LENGTHS[window.unit]))
        return None

    def figures(self) -> Iterator[Spent]:
        """The use of each quota."""
        self._roll(self._now())
        for window in self._windows:
            calls = window.reserved - window.left
            yield Spent(self._name, window.unit, calls, window.limit, window.end)

    def _roll(self, now: float) -> None:
        for window in self._windows:
            if now >= window.end:
                window.name, window.end = current(window.unit, now)
                window.reserved = self._counters.spent(self._counter, window.name)
                window.left = 0

    async def _lease(self, window: _Window) -> None:
        name, block = window.name, window.block
        failure = None
        try:
            total = await self._counters.reserve(self._counter, name, block)
            if window.name == name:  # else the block is of a window that is over: nobody needs it
                window.left = max(0, block - max(0, total - window.limit))
                window.reserved = total
        except Exception as error:  # whoever waits must hear of it, or it waits for ever
            failure = error
        finally:
            self._leasing = None
        self._changed(failure)


def current(unit: str, now: float) -> tuple[str, float]:
    """The name of the calendar window that `now` is in, and when it ends (both Unix time, UTC)."""
    moment = datetime.fromtimestamp(now, UTC)
    if unit == "minute":
        return moment.strftime("%Y-%m-%dT%H:%M"), (now // MINUTE + 1) * MINUTE
    if unit == "day":
        return moment.strftime("%Y-%m-%d"), (now // DAY + 1) * DAY
    year, month = divmod(moment.year * 12 + moment.month, 12)
    return moment.strftime("%Y-%m"), datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
