"""Conditions of parcels that nobody tries: dead ones, and those of no configured delivery.

state/deliveries/<delivery>/dead/ --count--> dead.<delivery>
state/deliveries/<no delivery>/   --count--> deliver.<no delivery>

Commands change these folders, too, so they are looked at again and again, but listed only when they
have changed.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from roundtrip.config import Settings
from roundtrip.deliver.entry import DEAD, exchange_of
from roundtrip.places import Places
from roundtrip.queues import DeadCounts
from roundtrip.roles.health import Health, Severity

_DELIVERIES = "roundtrip deliveries"
_BETWEEN = 1.0  # seconds, though a thousand parcels die at once


class Census:
    """Reports how many parcels nobody tries, every so many seconds and when it is woken."""

    def __init__(self, settings: Settings, places: Places, health: Health) -> None:
        self._known = frozenset(each.name for each in settings.deliveries)
        self._every = settings.timing.heartbeat
        self._folder = places.deliveries
        self._health = health
        self._dead = DeadCounts(settings, places)
        self._told: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look again soon."""
        self._changed.set()

    async def start(self) -> None:
        """Look once, and then again and again, where there can be something to see."""
        await self.look()
        if self._known or self._told:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="census")

    async def close(self) -> None:
        """End, with what is known then."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self.look()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._changed.wait()
            self._changed.clear()
            await self.look()
            await asyncio.sleep(_BETWEEN)

    async def look(self) -> None:
        """Count, and report; what has become nothing is cleared."""
        dead, strange = await asyncio.to_thread(self._counted)
        for name, count in dead.items():
            text = (
                f"delivery {name} has {count} dead, tried no more; why: {_DELIVERIES} list --dead"
            )
            text += f" --delivery {name}; then retry or drop them"
            self._health.report(f"dead.{name}", text, Severity.WARNING)
        for name, (due, gone) in strange.items():
            text = (
                f"{self._folder / name} holds {due} due and {gone} dead, but no delivery {name} is"
            )
            text += (
                f" configured; configure it again, or: {_DELIVERIES} drop --delivery {name} --all"
            )
            self._health.report(f"deliver.{name}", text, Severity.WARNING)
        told = {*(f"dead.{name}" for name in dead), *(f"deliver.{name}" for name in strange)}
        for key in self._told - told:
            self._health.clear(key)
        self._told = told

    def _counted(self) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
        dead = {name: count for name, count in self._dead.look().items() if count}
        return dead, strangers(self._folder, self._known)


def strangers(folder: Path, known: frozenset[str]) -> dict[str, tuple[int, int]]:
    """Deliveries that are not configured but have parcels: how many are due, and dead."""
    counts = {
        each.name: (_count(each), _count(each / DEAD))
        for each in _folders(folder)
        if each.name not in known
    }
    return {name: both for name, both in counts.items() if any(both)}


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _count(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(exchange_of(entry.name) is not None for entry in entries)
    except OSError:
        return 0
