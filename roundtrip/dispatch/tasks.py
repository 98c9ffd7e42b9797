"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from typing import Any

from roundtrip.queue.losing import noted

_AGAIN = 1.0  # seconds


async def ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: what a task waits for may complete in the same moment, and
    `asyncio.wait_for` of Python 3.11 then drops the cancellation (python/cpython#86296).
    """
    for task in tasks:
        # Whoever waits here may be cancelled, too: what a task ends with is nobody's news then.
        task.add_done_callback(noted)
    waiting = set(tasks)
    while waiting := {task for task in waiting if not task.done()}:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
