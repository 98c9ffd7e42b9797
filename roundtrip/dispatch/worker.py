"""A worker: takes jobs from the queue as long as it has a share of the limits, and does them.

standing: life sign, share --> connect, take --> handling: one task for each job
                           '-> none: stand by
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from roundtrip.dispatch.folder import JobFolder
from roundtrip.dispatch.handling import Handling
from roundtrip.dispatch.pauses import Pauses
from roundtrip.dispatch.standing import Standing
from roundtrip.dispatch.tasks import ended
from roundtrip.dispatch.work import Workbench
from roundtrip.enrich.engine import Enricher
from roundtrip.errors import ShareError
from roundtrip.queue.port import Broker, BrokerAway, Delivery

log = logging.getLogger("roundtrip.dispatch")


class Worker:
    """One worker process, from `run` until `stop`."""

    def __init__(
        self,
        name: str,
        folder: JobFolder,
        broker: Broker,
        enricher: Enricher,
        bench: Workbench,
        *,
        concurrency: int,
        attempts: int,
        beat: float,
        places: int,
        patience: float,
        whoami: Mapping[str, Any],
    ) -> None:
        """`concurrency` jobs are done at once; `patience` seconds are left to them at the end."""
        self.name = name
        self._folder = folder
        self._broker = broker
        self._enricher = enricher
        self._bench = bench
        self._concurrency = concurrency
        self._beat = beat
        self._patience = patience
        self._whoami = dict(whoami)
        self._standing = Standing(
            folder.room,
            name,
            beat=beat,
            places=places,
            say=self._say,
            each_beat=self._look_after,
        )
        self._handling = Handling(
            name,
            folder,
            broker,
            bench,
            self._standing.roll,
            concurrency=concurrency,
            attempts=attempts,
            beat=beat,
        )
        self._stopping = asyncio.Event()
        self._connected = False

    def stop(self) -> None:
        """End `run`: take nothing more, and finish or give back what is in hand."""
        self._stopping.set()

    async def run(self, *, once: bool = False, before: str | None = None) -> None:
        """Work until `stop`, or with `once` until the queue is empty.

        `before` is the worker that was here before and is known to be dead.

        Raises:
            ShareError: the worker's own store can't be used or, with `once`, the queue's folder.
            BrokerAway: with `once` only; otherwise it is waited for.
        """
        await self._enricher.open()
        beating = asyncio.create_task(self._begin(before))
        serving = asyncio.create_task(self._serve(once=once))
        stopping = asyncio.create_task(self._await_stop())
        try:
            await asyncio.wait([beating, serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in (beating, serving):
                if task.done():
                    task.result()
        finally:
            await ended(serving, stopping)
            await self._end(beating)

    async def _await_stop(self) -> None:
        await self._stopping.wait()

    async def _begin(self, before: str | None) -> None:
        if before is not None:
            with suppress(OSError):
                await self._standing.end(before)
        with suppress(OSError):
            await self._bench.forget_gone()
        await self._standing.run()

    async def _end(self, beating: asyncio.Task[None]) -> None:
        log.info("stopping", extra={"jobs": len(self._handling.hands)})
        await self._handling.finish(self._patience)
        await ended(beating)
        with suppress(OSError):
            await self._standing.end()
        await self._broker.aclose()
        await self._enricher.aclose()
        self._folder.room.close()
        log.info("stopped")

    def _say(self) -> dict[str, Any]:
        counts = {"jobs": len(self._handling.hands), "done": self._handling.done}
        return {**self._whoami, **counts, "concurrency": self._concurrency}

    async def _look_after(self) -> None:
        """Each beat: keep messages, say how far jobs are, notice those that nobody wants."""
        if self._connected:
            with suppress(BrokerAway):  # Whoever takes messages hears of it, too.
                await self._broker.renew()
                await self._handling.tell_progress()
        await self._handling.drop_unwanted()

    async def _serve(self, *, once: bool) -> None:
        pauses = Pauses()
        while True:
            if not await self._get_share(once=once):
                return
            try:
                await self._broker.connect()
                await self._broker.consume(self._concurrency)
                self._connected = True
                log.info("ready", extra={"worker": self.name, "broker": self._broker.label})
                pauses.reset()
                if await self._take(once=once):
                    return
            except BrokerAway as error:
                if once:
                    raise
                log.warning("broker away", extra={"error": str(error)})
                self._connected = False
                await asyncio.sleep(pauses.next())

    async def _get_share(self, *, once: bool) -> bool:
        """Wait for a share of the limits; False if `once` and others have all of them."""
        while self._standing.share is None:
            self._standing.changed.clear()
            if once and self._ends_early():
                return False
            await self._standing.changed.wait()
        self._enricher.share(self._standing.share)
        return True

    def _ends_early(self) -> bool:
        """Whether others work already; raises ShareError where the folder is away."""
        if self._standing.away is not None:
            why = self._standing.away
            raise ShareError(f"{self._folder.room.path}: {why.strerror or why}; is it mounted?")
        return self._standing.stands_by

    async def _take(self, *, once: bool) -> bool:
        """Take jobs as long as there is a share in the limits; True when `once` is satisfied."""
        taking: asyncio.Task[Delivery] | None = None
        try:
            while True:
                self._standing.changed.clear()
                if once and self._ends_early():
                    return True
                if self._standing.share is None:
                    await self._stand_by()
                    return False
                self._enricher.share(self._standing.share)
                taking = taking or asyncio.create_task(self._broker.take())
                changed = asyncio.create_task(self._standing.changed.wait())
                await asyncio.wait(
                    [taking, changed],
                    timeout=self._beat if once else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                changed.cancel()
                if taking.done():
                    self._handling.start(taking.result())
                    taking = None
                elif once and await self._is_idle():
                    return True
        finally:
            if taking is not None:  # What it may have got goes back when we disconnect.
                await ended(taking)

    async def _is_idle(self) -> bool:
        return not self._handling.tasks and (await self._broker.depth()).waiting == 0

    async def _stand_by(self) -> None:
        """There are more workers than the limits have room for: finish, and let others work."""
        log.info("standing by")
        self._connected = False
        if self._handling.tasks:
            await asyncio.wait(self._handling.tasks)
        await self._broker.aclose()
