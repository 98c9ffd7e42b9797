"""How many calls of a step run at once and how fast they follow, over all payloads together."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from aiolimiter import AsyncLimiter

from roundtrip.enrich.settings import HttpStep, Rate

TICK = 0.01  # seconds; a timer that fires more often than this is late more than it is right


class Limits:
    """`async with limits:` around one attempt. Waits in order of arrival; free slots cost ~1 us.

    A pause between two attempts holds no slot, so a failing call delays only its own payload.
    """

    def __init__(self, step: HttpStep) -> None:
        self._slots = asyncio.Semaphore(step.concurrency)
        self._rate = paced(step.rate) if step.rate else None

    async def __aenter__(self) -> None:
        await self._slots.acquire()
        if self._rate is None:
            return
        try:
            await self._rate.acquire()
        except BaseException:
            self._slots.release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._slots.release()


def paced(rate: Rate) -> AsyncLimiter:
    """A limiter that spreads the calls evenly.

    aiolimiter's bucket lets a full burst through at once and refills it while it empties, so
    `AsyncLimiter(calls, seconds)` may let nearly twice `calls` through in the first period.
    """
    burst = max(1, math.floor(rate.calls * TICK / rate.seconds))
    return AsyncLimiter(burst, burst * rate.seconds / rate.calls)
