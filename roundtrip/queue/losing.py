"""Waiting for a broker's answer while the connection may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from roundtrip.queue.port import BrokerAway

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a broker is given for an answer before the connection counts as lost."""


class Line:
    """One connection: whole until `lose`, then everybody who waits gets BrokerAway."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reason = ""

    @property
    def is_lost(self) -> bool:
        """Whether it is of no use any more."""
        return self._lost.done()

    def lose(self, reason: object) -> None:
        """The connection is lost; the first reason counts."""
        if not self._lost.done():
            self._reason = str(reason) or type(reason).__name__
            self._lost.set_result(None)

    def error(self) -> BrokerAway:
        """What to raise once it is lost."""
        return BrokerAway(f"{self._label}: {self._reason}")

    async def unless_lost(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        """Do `work`, for at most `patience` seconds.

        Raises:
            BrokerAway: the connection is or was lost, or patience ended.
        """
        if self._lost.done():
            work.close()
            raise self.error()
        task = asyncio.ensure_future(work)
        task.add_done_callback(noted)
        try:
            both: list[asyncio.Future[Any]] = [task, self._lost]
            await asyncio.wait(both, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not task.cancelled():
                return task.result()
            self.lose(f"no answer in {patience:g} s" if patience else "the connection was closed")
            raise self.error()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=1.0)


def noted(task: asyncio.Future[Any]) -> None:
    """A task's done callback where nobody may be left to wait for it.

    What it ends with is no news: once a connection is lost, the loss is what is told.
    """
    if not task.cancelled():
        task.exception()
