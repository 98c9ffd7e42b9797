"""A worker's jobs from delivery to settlement, each in a task of its own.

    look into the folder --> gone or answered: acknowledge
                         --> somebody alive is at it: acknowledge a double, else wait
                         --> too many have ended with it: a failed result, a dead letter
                         --> claim --> do --> result durable --> acknowledge

Jobs go on while the broker is away. What is delivered again meanwhile is theirs already.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from roundtrip.dispatch.folder import JobFolder, Look
from roundtrip.dispatch.hints import Hint, encode
from roundtrip.dispatch.job import Job, Trouble, Unreadable, addressed, parted
from roundtrip.dispatch.roll import Roll
from roundtrip.dispatch.room import FolderAway
from roundtrip.dispatch.tasks import ended
from roundtrip.dispatch.work import Hand, Workbench
from roundtrip.enrich import Withdrawn
from roundtrip.queue.port import Broker, BrokerAway, Delivery

log = logging.getLogger("roundtrip.dispatch")


class Handling:
    """Everything that one worker has in hand."""

    def __init__(
        self,
        worker: str,
        folder: JobFolder,
        broker: Broker,
        bench: Workbench,
        roll: Roll,
        *,
        concurrency: int,
        attempts: int,
        beat: float,
    ) -> None:
        """`concurrency` jobs are done at once; `beat` seconds are rested where one has to wait."""
        self._worker = worker
        self._folder = folder
        self._broker = broker
        self._bench = bench
        self._roll = roll
        self._attempts = attempts
        self._beat = beat
        self._turns = asyncio.Semaphore(concurrency)
        self._deliveries: dict[str, Delivery] = {}
        self._stopping = asyncio.Event()
        self._giving_up = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.hands: dict[str, Hand] = {}
        self.done = 0

    def start(self, delivery: Delivery) -> None:
        """A message has come."""
        queue, name = parted(delivery.job)
        if not queue or not name:
            work = self._discard(delivery)
        elif name not in self._deliveries:
            self._deliveries[name] = delivery
            work = self._handle(name, queue)
        elif delivery.again:  # The connection was lost, and the broker gives us once more what we
            self._deliveries[name] = delivery  # have in our hands: this one can be settled.
            return
        else:
            work = self._settle(delivery)  # A double.
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def finish(self, patience: float) -> None:
        """Begin nothing more; jobs that don't end in so many seconds are given back."""
        self._stopping.set()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience)
        self._giving_up = True
        if self.tasks:
            # The engine asks every second whether a job is still wanted.
            await asyncio.wait(self.tasks, timeout=patience + 5.0)
        await ended(*self.tasks)

    async def drop_unwanted(self) -> None:
        """Notice which jobs nobody wants any more. Raises OSError."""
        asked = dict(self.hands)  # Others may be taken while the folder is looked at.
        wanted = await self._folder.is_wanted(set(asked))
        for name, hand in asked.items():
            hand.dropped = hand.dropped or name not in wanted

    async def tell_progress(self) -> None:
        """Say how far the jobs are. Raises BrokerAway."""
        for hand in list(self.hands.values()):
            if hand.progress is not None and hand.progress != hand.told:
                hand.told = hand.progress
                await self._broker.tell(encode(Hint(hand.job.name, hand.progress)))

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
        except Exception:
            log.exception("defect", extra={"job": name})  # Ours: what steps raise is a result.
            await self._put_back(name, queue)
        finally:
            self._deliveries.pop(name, None)

    async def _one(self, name: str, queue: str) -> None:
        if queue != await self._folder.room.identity():
            path = self._folder.room.path
            raise OSError(f"{path} is the folder of another queue: check queue.name and folder")
        if await self._deal_with(name):
            await self._settle(self._deliveries[name])

    async def _discard(self, delivery: Delivery) -> None:
        log.error("job buried", extra={"job": delivery.job[:100], "reason": "no job's message"})
        with suppress(BrokerAway):
            await self._broker.bury(delivery)

    async def _settle(self, delivery: Delivery) -> None:
        with suppress(BrokerAway):  # It is delivered again, and found to be answered.
            await self._broker.ack(delivery)

    async def _deal_with(self, name: str) -> bool:
        """Do what is to be done about a job; whether its message can be acknowledged.

        What is not done when the worker stops stays as it is, and is delivered to another.
        """
        while not self._stopping.is_set():
            try:
                look = await self._folder.look(name)
            except Unreadable as error:
                await self._bury(name, Trouble("internal", "The job is unusable", str(error)))
                return False
            if look.job is None:
                self._bench.forget(name)
                return True
            if look.holder == self._worker:  # Ours: it could not be given back when it ended badly.
                return await self._do(look.job, look.tries)
            if look.holder is None or not await self._roll.is_alive(look.holder):
                if look.tries >= self._attempts:
                    await self._bury(name, _poison(look))
                    return False
                if await self._folder.claim(name, look.tries + 1, self._worker):
                    return await self._do(look.job, look.tries + 1)
            elif not self._deliveries[name].again:
                return True  # A double: whoever is at it has a message of its own.
            await self._rest()
        return False

    async def _do(self, job: Job, number: int) -> bool:
        hand = self.hands[job.name] = Hand(job, number)
        log.info("job taken", extra={"job": job.name, "try": number})
        try:
            result = await self._bench.do(hand, lambda: self._giving_up)
            if await self._folder.answer(result):
                self.done += 1
            log.info("job done", extra={"job": job.name, "outcome": result.outcome})
            self._bench.forget(job.name)
            await self._tell(job.name)
            return True
        except Withdrawn:
            return await self._drop(hand)
        except (Exception, asyncio.CancelledError):
            with suppress(OSError):
                await self._folder.give_back(job.name, number)
            raise
        finally:
            del self.hands[job.name]

    async def _drop(self, hand: Hand) -> bool:
        name = hand.job.name
        await self._folder.give_back(name, hand.number)
        if not hand.dropped:
            return False
        log.info("job dropped", extra={"job": name})
        self._bench.forget(name)
        return True

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._beat)

    async def _put_back(self, name: str, queue: str) -> None:
        """A new message in place of the old one, after a pause."""
        await self._rest()
        with suppress(BrokerAway):  # Then the old one is delivered again.
            await self._broker.publish(addressed(queue, name))
            await self._broker.ack(self._deliveries[name])

    async def _bury(self, name: str, trouble: Trouble) -> None:
        log.error("job buried", extra={"job": name, "reason": trouble.detail})
        await self._folder.answer(self._bench.failed(name, trouble))
        await self._tell(name)
        with suppress(BrokerAway):
            await self._broker.bury(self._deliveries[name])

    async def _tell(self, name: str) -> None:
        with suppress(BrokerAway):
            await self._broker.tell(encode(Hint(name)))


def _poison(look: Look) -> Trouble:
    detail = (
        f"{look.tries} workers ended while they had it, and none said why; host B's workers' logs "
        "and the kernel's (out of memory?) may say more"
    )
    return Trouble("workers", "The request ended every worker that took it", detail)
