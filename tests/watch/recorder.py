"""What a watcher delivered, and a way to wait for the next of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from roundtrip.watch.port import Event, Kind

PATIENCE = 10.0
"""Seconds a test waits for an event that must come."""


class Recorder:
    """Give `recorder.deliver` to a watcher, then await what should come."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self._changed = asyncio.Event()

    def deliver(self, events: list[Event]) -> None:
        self.batches.append(events)
        self._changed.set()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    def names(self, kind: Kind) -> list[str]:
        return [event.name for event in self.events if event.kind is kind]

    def kinds(self) -> set[Kind]:
        return {event.kind for event in self.events}

    def clear(self) -> None:
        self.batches.clear()

    async def until(self, *wanted: Event) -> None:
        """Wait until each of `wanted` has been delivered."""
        await self.until_true(lambda: set(wanted) <= set(self.events), wanted)

    async def until_true(self, done: Callable[[], bool], what: Iterable[object] = ()) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited for {what}, got {self.events[-20:]}") from None
