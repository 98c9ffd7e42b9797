"""A time in which a host gets no calls, because it asked for that, or because it doesn't answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.retry import Sleep


class Hold:
    """Starts, may be made longer, and ends by itself: then `over` is called."""

    __slots__ = ("_now", "_over", "_sleep", "_task", "asked", "ends", "fault", "times", "until")

    def __init__(self, sleep: Sleep, now: Callable[[], float], over: Callable[[], None]) -> None:
        """`now` is Unix time."""
        self._sleep = sleep
        self._now = now
        self._over = over
        self._task: asyncio.Task[None] | None = None
        self.until: float | None = None  # on the loop's clock, while it lasts
        self.ends = 0.0  # the same as Unix time
        self.fault: RecordFault | None = None  # why
        self.asked = 0.0  # seconds in all, since `forget`
        self.times = 0  # since then, too

    def start(self, seconds: float, fault: RecordFault) -> None:
        """From now on for `seconds`, or longer if that was said before."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + seconds
        if self.until is None:
            self.times += 1
            self.asked += seconds
        elif until > self.until:
            self.asked += until - self.until
        else:
            return
        self.end()
        self.until = until
        self.ends = self._now() + seconds
        self.fault = fault
        self._task = loop.create_task(self._last(seconds))

    def end(self) -> None:
        """It is over already; nobody is told."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.until = None

    def forget(self) -> None:
        """The host answered: what comes now is not part of what was before."""
        self.asked = 0.0
        self.times = 0

    async def _last(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._task = None
        self.until = None
        self._over()
