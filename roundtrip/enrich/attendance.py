"""While a payload runs: is it still wanted, and how far is it? One timer asks and tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from roundtrip.enrich.faults import Withdrawn

LOOK = 1.0  # seconds


class Attendance:
    """Around one payload's work, in one task.

    Ends it with Withdrawn, wherever it waits, once `cancelled` says so; calls `tell` every second.
    """

    def __init__(
        self, cancelled: Callable[[], bool] | None, tell: Callable[[], None] | None
    ) -> None:
        self._cancelled = cancelled
        self._tell = tell
        self._withdrawn = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._cancelled is not None or self._tell is not None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            self._timer = self._loop.call_later(LOOK, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._withdrawn and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise Withdrawn from None

    def _look(self) -> None:
        if self._cancelled is not None and self._cancelled() and self._task is not None:
            self._withdrawn = True
            self._task.cancel()
            return
        if self._tell is not None:
            self._tell()
        self._timer = self._loop.call_later(LOOK, self._look)
