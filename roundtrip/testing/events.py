"""Kernel events on their way to the agent: some get lost, come twice, late, or for another name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roundtrip.testing.weather import Weather

_LATE = 3.0  # seconds

Notice = Callable[[str, bool], None]
"""Takes a name and whether it was removed."""


class Events:
    """Tells one host what changes in the share on its disk."""

    def __init__(self, weather: Weather, notice: Notice) -> None:
        self._weather = weather
        self._notice = notice
        self._seen: list[str] = []

    def tell(self, name: str, *, removed: bool) -> None:
        """A name has come or gone."""
        faults, dice = self._weather.faults, self._weather.dice
        if faults.both_mounted:
            return
        if self._weather.is_over:
            self._send(name, removed, 0.0)
            return
        if dice.random() < faults.event_false and self._seen:
            self._send(dice.choice(self._seen), dice.random() < 0.5, 0.0)
        self._seen = [*self._seen[-9:], name]
        if dice.random() < faults.event_lost:
            return
        for _ in range(1 + (dice.random() < faults.event_twice)):
            late = dice.random() < faults.event_late
            self._send(name, removed, dice.random() * _LATE if late else 0.0)

    def _send(self, name: str, removed: bool, delay: float) -> None:
        asyncio.get_running_loop().call_later(delay, self._notice, name, removed)
