"""The wish that the agent ends, and waits that it cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Stopping:
    """Set once, for good."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """The agent is to end."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether it is to end."""
        return self._event.is_set()

    async def pause(self, seconds: float, *others: asyncio.Event) -> None:
        """Wait so many seconds, or until one of `others` is set, or the agent is to end."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self._event, *others)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def unless(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do what may take its time where a mount hangs; False if the end came first.

        What `work` raises is raised; work that is cut short is cancelled, and over on return.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._event.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.wait([task, stop])
        return not self.is_set()
