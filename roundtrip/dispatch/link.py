"""The agent's connection to the broker: publishes jobs, hears hints, comes back when it is lost.

publish(job) --> unpublished --connected--> the broker --confirmed--> published
lost: try again with growing pauses, then publish all that is still waited for once more
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from roundtrip.dispatch.hints import Hint, decode
from roundtrip.dispatch.pauses import Pauses
from roundtrip.dispatch.tasks import ended
from roundtrip.queue.port import Broker, BrokerAway, Depth
from roundtrip.roles.health import Health

log = logging.getLogger("roundtrip.dispatch")

_AT_ONCE = 50  # messages whose confirmation is waited for together
CONDITION = "queue.broker"


class Link:
    """From `start` to `close`; doubles of a message do no harm."""

    def __init__(
        self,
        broker: Broker,
        health: Health,
        *,
        on_hint: Callable[[Hint], None],
        waited_for: Callable[[], Iterable[str]],
        address: Callable[[str], str],
    ) -> None:
        """`waited_for` says which jobs have no result yet: the broker may have lost its queue.

        `address` makes of a job's name what its message says.
        """
        self._broker = broker
        self._health = health
        self._on_hint = on_hint
        self._waited_for = waited_for
        self._address = address
        self._unpublished: dict[str, None] = {}
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected = False

    def start(self) -> None:
        """Begin, inside the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="queue-link")

    def publish(self, job: str) -> None:
        """Publish a job as soon as that is possible."""
        self._unpublished[job] = None
        self._more.set()

    def drop(self, job: str) -> None:
        """The job needs no message any more."""
        self._unpublished.pop(job, None)

    async def depth(self) -> Depth | None:
        """How much is in the queue; None if that can't be told."""
        if not self._connected:
            return None
        try:
            return await self._broker.depth()
        except BrokerAway:
            return None

    async def close(self) -> None:
        """End; what could not be published is found in the folder by the next life."""
        if self._task is not None:
            await ended(self._task)
        await self._broker.aclose()

    async def _run(self) -> None:
        pauses = Pauses()
        while True:
            try:
                await self._broker.connect()
                await self._broker.listen()
                for job in self._waited_for():
                    self.publish(job)
                log.info("broker connected", extra={"broker": self._broker.label})
                self._connected = True
                self._health.clear(CONDITION)
                pauses.reset()
                await self._work()
            except BrokerAway as error:
                self._connected = False
                text = f"{error}; requests wait for it, nothing is lost"
                self._health.report(CONDITION, text)
            await asyncio.sleep(pauses.next())

    async def _work(self) -> None:
        """Publish and hear until the connection is lost."""
        tasks = [asyncio.ensure_future(self._publish()), asyncio.ensure_future(self._hear())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _publish(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._unpublished:
                jobs = list(self._unpublished)[:_AT_ONCE]
                await asyncio.gather(*(self._publish_one(job) for job in jobs))

    async def _publish_one(self, job: str) -> None:
        await self._broker.publish(self._address(job))
        self._unpublished.pop(job, None)

    async def _hear(self) -> None:
        while True:
            hint = decode(await self._broker.hear())
            if hint is not None:
                self._on_hint(hint)
