"""Which names to look at: each once at a time, again if it changed meanwhile, later if asked.

The schedule knows nothing of exchanges. A look that fails is repeated with growing pauses, so that
no event is ever lost to an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

log = logging.getLogger("roundtrip.agent")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0

Look = Callable[[str], Awaitable[float | None]]
"""Looks at a name; returns in how many seconds to look again, or None."""


class Schedule:
    """Runs looks, `limit` at once, inside the running event loop.

    `on_error` is told of each OSError, which says that the world outside is broken, not the name.
    """

    def __init__(
        self, look: Look, limit: int, on_error: Callable[[OSError], None] = lambda error: None
    ) -> None:
        self._look = look
        self._limit = limit
        self._on_error = on_error
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._begun: set[str] = set()
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self.held = 0  # looks that failed because of the world outside
        self.defects = 0  # looks that failed because of us
        self._paused = False
        self._idle: asyncio.Future[None] | None = None

    def wake(self, name: str) -> None:
        """Look at `name` soon; once more afterwards if it is being looked at now."""
        if name in self._running:
            if name in self._begun:  # Else its look will see whatever has happened.
                self._again.add(name)
        elif name not in self._queued:
            self._cancel_timer(name)
            self._queued.add(name)
            self._ready.append(name)
            self._start_more()

    async def look_now(self, name: str) -> None:
        """Look at `name` in the caller's own task, without another turn of the loop if possible."""
        task = asyncio.current_task()
        if task is None or self._paused or len(self._running) >= self._limit:
            self.wake(name)
        elif name not in self._running and name not in self._queued:
            self._running[name] = task
            await self._run(name)

    def wake_after(self, name: str, seconds: float) -> None:
        """Look at `name` in so many seconds, unless something wakes it before."""
        if seconds <= 0:
            self.wake(name)
            return
        self._cancel_timer(name)
        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(seconds, self._ring, name)

    def _ring(self, name: str) -> None:
        self._timers.pop(name, None)
        self.wake(name)

    def _cancel_timer(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def pause(self) -> None:
        """Start no more looks until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on with what is waiting."""
        self._paused = False
        self._start_more()

    def _start_more(self) -> None:
        while self._ready and len(self._running) < self._limit and not self._paused:
            name = self._ready.popleft()
            self._queued.discard(name)
            self._running[name] = asyncio.get_running_loop().create_task(self._run(name))

    async def _run(self, name: str) -> None:
        again: float | None = None
        self._begun.add(name)
        try:
            again = await self._look(name)
            self._failures.pop(name, None)
        except OSError as error:
            again = self._pause_after(name)
            self.held += 1
            log.warning("held", extra={"exchange": name, "error": str(error), "again": again})
            self._on_error(error)
        except Exception:
            again = self._pause_after(name)
            self.defects += 1
            log.exception("defect", extra={"exchange": name})
        finally:
            self._begun.discard(name)
            del self._running[name]
            self._after(name, again)

    def _pause_after(self, name: str) -> float:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        return min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE)

    def _after(self, name: str, again: float | None) -> None:
        if name in self._again:
            self._again.discard(name)
            self.wake(name)
        elif again is not None:
            self.wake_after(name, again)
        self._start_more()
        if self._idle and self._is_at_rest() and not self._idle.done():
            self._idle.set_result(None)

    def _is_at_rest(self) -> bool:
        """Whether nothing runs, nor will before a timer rings or somebody calls."""
        return not self._running and (self._paused or not self.is_busy())

    @property
    def running(self) -> int:
        """How many names are being looked at."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many names wait for their turn, or for a time."""
        return len(self._ready) + len(self._timers)

    def is_busy(self, horizon: float = 0.0) -> bool:
        """Whether anything runs, waits, or is due to be looked at within `horizon` seconds."""
        if self._running or self._ready:
            return True
        soon = asyncio.get_running_loop().time() + horizon
        return any(timer.when() <= soon for timer in self._timers.values())

    async def until_idle(self, horizon: float) -> None:
        """Wait until nothing runs, waits, or is due within `horizon` seconds, or it is paused."""
        while self.is_busy(horizon):
            if not self._is_at_rest():
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            elif self._paused:
                return
            else:
                await asyncio.sleep(0.05)  # Only timers are left: let them ring.

    async def stop(self, timeout: float) -> None:
        """Start nothing more; let what runs end, and cancel it after `timeout` seconds."""
        self.pause()
        for name in list(self._timers):
            self._cancel_timer(name)
        running = list(self._running.values())
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
