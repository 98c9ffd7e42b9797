"""Looks that are taken later: the earliest that was asked for, and one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Looks:
    """Calls `look` when it is due; what that returns is when to look again, in seconds, if ever."""

    def __init__(self, look: Callable[[], Awaitable[float | None]]) -> None:
        self._look = look
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def within(self, seconds: float) -> None:
        """Look in so many seconds, or earlier if that is planned."""
        if self._task is not None:
            return  # The look under way says itself when the next one is due.
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            pause = await self._look()
        finally:
            self._task = None
        if pause is not None:
            self.within(pause)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
