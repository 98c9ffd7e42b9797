"""Blocking work in a thread that nobody waits for: an agent that stops must not wait for a server.

The event loop's own pool would: `asyncio.run` joins its threads, however long they hang.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def beside(work: Callable[[], T], abort: Callable[[], None]) -> T:
    """Return what `work` returns, from a thread of its own; cancelled, call `abort` and go on."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, error: BaseException | None) -> None:
        if done.done():
            return  # It was cancelled.
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(answer)  # type: ignore[arg-type]

    def run() -> None:
        answer, failure = None, None
        try:
            answer = work()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # The loop has ended: nobody wants to know.
            loop.call_soon_threadsafe(settle, answer, failure)

    threading.Thread(target=run, name="deliver", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        abort()
        raise
