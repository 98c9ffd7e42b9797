"""Work in threads that ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Check = Callable[[], None]
"""To be called between the pieces of a long work; raises if the work is to end."""


class Ended(Exception):
    """The task that waited for this work was cancelled."""


async def in_thread(work: Callable[[Check], T]) -> T:
    """Run `work` in a thread; if the caller is cancelled, the thread ends at its next check.

    asyncio.to_thread alone leaves the thread running, and the end of the program waits for it.
    """
    ended = threading.Event()

    def check() -> None:
        if ended.is_set():
            raise Ended

    try:
        return await asyncio.to_thread(work, check)
    finally:
        ended.set()
