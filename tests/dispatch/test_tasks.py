"""Ending tasks, also where whoever ends them is ended."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from roundtrip.dispatch.tasks import ended


async def test_an_error_of_a_task_that_is_being_ended_is_nobodys_news() -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, news: heard.append(news))
    asked, go = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.set()
            await go.wait()
            raise ConnectionError("the broker went") from None

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    ending = asyncio.create_task(ended(task))
    await asked.wait()
    ending.cancel()
    await asyncio.wait([ending])
    go.set()
    await asyncio.wait([task])
    del task, ending
    gc.collect()
    assert heard == []


async def test_a_task_that_drops_a_cancellation_is_cancelled_again() -> None:
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    await ended(task)
    assert task.cancelled()
