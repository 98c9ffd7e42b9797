"""A worker: takes jobs from the queue, does them, and acknowledges once the result is durable.

    take --> look into the folder --> gone or answered: acknowledge
                                  --> somebody alive is at it: acknowledge a double, else wait
                                  --> too many have died of it: a failed result, a dead letter
                                  --> claim --> do --> result durable --> acknowledge

Jobs go on while the broker is away. What is delivered again meanwhile is theirs already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from roundtrip.dispatch.folder import JobFolder, Look
from roundtrip.dispatch.hints import Hint, encode
from roundtrip.dispatch.job import Job, Trouble, Unreadable
from roundtrip.dispatch.pauses import Pauses
from roundtrip.dispatch.standing import Standing
from roundtrip.dispatch.work import Hand, Workbench
from roundtrip.enrich import Withdrawn
from roundtrip.enrich.engine import Enricher
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
        self._attempts = attempts
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
        self._turns = asyncio.Semaphore(concurrency)
        self._hands: dict[str, Hand] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._giving_up = False
        self._connected = False
        self._done = 0

    def stop(self) -> None:
        """End `run`: take nothing more, and finish or give back what is in hand."""
        self._stopping.set()

    async def run(self, *, once: bool = False, before: str | None = None) -> None:
        """Work until `stop`, or with `once` until the queue is empty.

        `before` is the worker that was here before and is known to be dead.

        Raises:
            ShareError: the worker's own store can't be used.
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
            for task in (serving, stopping):
                task.cancel()
            await asyncio.wait([serving, stopping])
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
        """Let jobs end that do so soon; the others go back into the queue."""
        log.info("stopping", extra={"jobs": len(self._hands)})
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._patience)
        self._giving_up = True
        if self._tasks:
            # The engine asks every second whether a job is still wanted.
            await asyncio.wait(self._tasks, timeout=self._patience + 5.0)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        beating.cancel()
        await asyncio.wait([beating])
        with suppress(OSError):
            await self._standing.end()
        await self._broker.aclose()
        await self._enricher.aclose()
        self._folder.room.close()
        log.info("stopped")

    def _say(self) -> dict[str, Any]:
        return {**self._whoami, "jobs": len(self._hands), "done": self._done,
                "concurrency": self._concurrency}  # fmt: skip

    # -- every beat

    async def _look_after(self) -> None:
        """Notice jobs that nobody wants any more, say how far the others are, keep messages."""
        if self._connected:
            with suppress(BrokerAway):  # Whoever takes messages hears of it, too.
                await self._broker.renew()
                await self._tell_progress()
        wanted = await self._folder.is_wanted(set(self._hands))
        for name, hand in self._hands.items():
            hand.dropped = hand.dropped or name not in wanted

    async def _tell_progress(self) -> None:
        for hand in list(self._hands.values()):
            if hand.progress is not None and hand.progress != hand.told:
                hand.told = hand.progress
                await self._broker.tell(encode(Hint(hand.job.name, hand.progress)))

    # -- taking

    async def _serve(self, *, once: bool) -> None:
        pauses = Pauses()
        while True:
            await self._await_share()
            try:
                await self._broker.connect()
                await self._broker.consume(self._concurrency)
                self._connected = True
                log.info("ready", extra={"worker": self.name, "broker": self._broker.label})
                pauses.reset()
                if await self._take(once=once):
                    return
            except BrokerAway as error:
                log.warning("broker away", extra={"error": str(error)})
                self._connected = False
                await asyncio.sleep(pauses.next())

    async def _await_share(self) -> None:
        while self._standing.share is None:
            self._standing.changed.clear()
            await self._standing.changed.wait()
        self._enricher.share(self._standing.share)

    async def _take(self, *, once: bool) -> bool:
        """Take jobs as long as there is a share in the limits; True when `once` is satisfied."""
        taking: asyncio.Task[Delivery] | None = None
        try:
            while True:
                self._standing.changed.clear()
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
                    self._start(taking.result())
                    taking = None
                elif once and await self._is_idle():
                    return True
        finally:
            if taking is not None:  # What it may have got goes back when we disconnect.
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)

    async def _is_idle(self) -> bool:
        return not self._tasks and (await self._broker.depth()).waiting == 0

    async def _stand_by(self) -> None:
        """There are more workers than the limits have room for: finish, and let others work."""
        log.info("standing by")
        self._connected = False
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._broker.aclose()

    def _start(self, delivery: Delivery) -> None:
        queue, name = parted(delivery.job)
        if name not in self._deliveries:
            self._deliveries[name] = delivery
            work = self._handle(name, queue)
        elif delivery.again:  # The connection was lost, and the broker gives us once more what we
            self._deliveries[name] = delivery  # have in our hands: this one can be settled.
            return
        else:
            work = self._settle(delivery)  # A double.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- one job

    async def _handle(self, name: str, queue: str) -> None:
        """Have one job until its message is settled, or the worker stops."""
        try:
            while not self._stopping.is_set():
                try:
                    async with self._turns:
                        await self._one(name, queue)
                    return
                except FolderAway:
                    await self._rest()  # Nothing can be known of the job, so it stays with us.
        except OSError as error:
            # Nothing is wrong with the job. Another worker may have more luck, or we later.
            log.warning("job put back", extra={"job": name, "error": str(error)})
            await self._put_back(name, queue)
        finally:
            self._deliveries.pop(name, None)

    async def _one(self, name: str, queue: str) -> None:
        found = await self._folder.room.identity()
        if queue != found:
            raise OSError(f"{self._folder.room.path}: is the folder of another queue; check it")
        if await self._deal_with(name):
            await self._settle(self._deliveries[name])

    async def _settle(self, delivery: Delivery) -> None:
        with suppress(BrokerAway):  # It is delivered again, and found to be answered.
            await self._broker.ack(delivery)

    async def _deal_with(self, delivery: Delivery) -> bool:
        """Do what is to be done about a job; whether its message can be acknowledged.

        What is not done when the worker stops stays as it is, and is delivered to another.
        """
        name = delivery.job
        while not self._stopping.is_set():
            try:
                look = await self._folder.look(name)
            except Unreadable as error:
                await self._bury(
                    name, delivery, Trouble("internal", "The job is unusable", str(error))
                )
                return False
            if look.job is None:
                self._bench.forget(name)
                return True
            if look.holder is None or not await self._standing.roll.is_alive(look.holder):
                if look.tries >= self._attempts:
                    await self._bury(name, delivery, _poison(look))
                    return False
                if await self._folder.claim(name, look.tries + 1, self.name):
                    return await self._do(look.job, look.tries + 1)
            elif not delivery.again:
                return True  # A double: whoever is at it has a message of its own.
            await self._rest()
        return False

    async def _do(self, job: Job, number: int) -> bool:
        hand = self._hands[job.name] = Hand(job, number)
        log.info("job taken", extra={"job": job.name, "try": number})
        try:
            result = await self._bench.do(hand, lambda: self._giving_up)
            if await self._folder.answer(result):
                self._done += 1
            log.info("job done", extra={"job": job.name, "outcome": result.outcome})
            self._bench.forget(job.name)
            await self._tell(job.name)
            return True
        except Withdrawn:
            return await self._drop(hand)
        except (OSError, asyncio.CancelledError):
            with suppress(OSError):
                await self._folder.give_back(job.name, number)
            raise
        finally:
            del self._hands[job.name]

    async def _drop(self, hand: Hand) -> bool:
        name = hand.job.name
        if hand.dropped:
            log.info("job dropped", extra={"job": name})
            self._bench.forget(name)
            return True
        await self._folder.give_back(name, hand.number)
        return False

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._beat)

    async def _put_back(self, name: str, delivery: Delivery) -> None:
        """A new message in place of the old one, after a pause."""
        await self._rest()
        with suppress(BrokerAway):  # Then the old one is delivered again.
            await self._broker.publish(name)
            await self._broker.ack(self._deliveries.get(name, delivery))

    async def _bury(self, name: str, delivery: Delivery, trouble: Trouble) -> None:
        log.error("job buried", extra={"job": name, "reason": trouble.detail})
        await self._folder.answer(self._bench.failed(name, trouble))
        await self._tell(name)
        with suppress(BrokerAway):
            await self._broker.bury(self._deliveries.get(name, delivery))

    async def _tell(self, name: str) -> None:
        with suppress(BrokerAway):
            await self._broker.tell(encode(Hint(name)))


def _poison(look: Look) -> Trouble:
    detail = (
        f"{look.tries} workers ended while they had it, and none said why; host B's workers' logs "
        "and the kernel's (out of memory?) may say more"
    )
    return Trouble("workers", "The request ended every worker that took it", detail)
