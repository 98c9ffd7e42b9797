"""Conditions that come and go with every exchange, told calmly: one trouble, not a thousand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from roundtrip.roles.health import Health, Severity

_EVERY = 3.0  # seconds between two texts while a condition holds
_CALM = 3.0  # seconds that it must be gone before it counts as over


class Telling:
    """One condition; `text` says what it is now."""

    def __init__(
        self,
        health: Health,
        key: str,
        severity: Severity,
        text: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self._health = health
        self._severity = severity
        self._text = text
        self._clock = clock
        self._told = -_EVERY
        self._end: asyncio.TimerHandle | None = None

    @property
    def holds(self) -> bool:
        """Whether it is told of now."""
        return self._health.holds(self.key)

    def update(self, *, holds: bool) -> None:
        """Whether the condition holds now."""
        if holds:
            self.stop()
            if self._clock() - self._told >= _EVERY or not self.holds:
                self._told = self._clock()
                self._health.report(self.key, self._text(), self._severity)
        elif self._end is None and self.holds:
            self._end = asyncio.get_running_loop().call_later(_CALM, self._over)

    def _over(self) -> None:
        self._end = None
        self._health.clear(self.key)

    def stop(self) -> None:
        """Let the condition stand as it was told last."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
