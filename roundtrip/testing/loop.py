"""An event loop in virtual time: it passes only while everybody waits, so hours take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_LIVELOCK = 20_000  # turns of the loop, after which something should have waited at last


class Stuck(Exception):
    """Nothing will ever happen again, or nothing ever waits."""


class _Jump(selectors.SelectSelector):
    """Never sleeps: what was to be slept is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.is_ending = False
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("everybody waits for something that can't happen any more")
        if timeout > 0:
            self.now += timeout
            self._turns = 0
        self._turns += 1
        if self._turns > _LIVELOCK and not self.is_ending:
            raise Stuck(f"{_LIVELOCK} turns of the loop at {self.now:.3f} s, and nobody waits")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic: the same coroutines run in the same order. No threads, no descriptors."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def end(self) -> None:
        """Cancel what is left, and close."""
        self._jump.is_ending = True
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_until_complete(asyncio.sleep(0))
        self.close()


def virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in virtual time, and end what it leaves behind.

    Raises:
        Stuck: it can't go on, or goes on for ever without waiting.
    """
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.end()
