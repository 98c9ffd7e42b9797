"""A broker in this process's memory, for tests: it can be cut off, and can lose its queue."""

from __future__ import annotations

import asyncio
from collections import deque

from roundtrip.queue.port import BrokerAway, Delivery, Depth


class MemoryServer:
    """What brokers of one name share."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[str, bool]] = deque()
        self.dead: list[str] = []
        self.away = False
        self.clients: set[MemoryBroker] = set()
        self.changed = asyncio.Event()

    def cut_off(self, *, lose: bool = False) -> None:
        """Drop all connections and take no new ones; `lose` what is in the queue."""
        self.away = True
        for client in list(self.clients):
            client.drop()
        if lose:
            self.waiting.clear()

    def come_back(self) -> None:
        """Take connections again."""
        self.away = False

    def stir(self) -> None:
        """Something has changed for those who wait."""
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryBroker:
    """Implements `Broker`."""

    def __init__(self, server: MemoryServer) -> None:
        self.label = "memory"
        self._server = server
        self._taken: set[Delivery] = set()
        self._most = 0
        self._hints: deque[bytes] = deque()
        self._listens = False

    async def connect(self, *, make: bool = True) -> None:
        """See `Broker`."""
        self.drop()
        if self._server.away:
            raise BrokerAway("the broker is away")
        self._server.clients.add(self)

    async def publish(self, job: str) -> None:
        """See `Broker`."""
        self._check()
        self._server.waiting.append((job, False))
        self._server.stir()

    async def consume(self, most: int) -> None:
        """See `Broker`."""
        self._check()
        self._most = most

    async def take(self) -> Delivery:
        """See `Broker`."""
        while True:
            self._check()
            if self._server.waiting and len(self._taken) < self._most:
                job, again = self._server.waiting.popleft()
                delivery = Delivery(job, again, None)
                self._taken.add(delivery)
                return delivery
            await self._server.changed.wait()

    async def ack(self, delivery: Delivery) -> None:
        """See `Broker`."""
        self._check()
        self._taken.discard(delivery)
        self._server.stir()

    async def bury(self, delivery: Delivery) -> None:
        """See `Broker`."""
        self._check()
        if delivery in self._taken:
            self._server.dead.append(delivery.job)
        await self.ack(delivery)

    async def renew(self) -> None:
        """See `Broker`."""
        self._check()

    async def tell(self, hint: bytes) -> None:
        """See `Broker`."""
        self._check()
        for client in self._server.clients:
            client._hear(hint)
        self._server.stir()

    def _hear(self, hint: bytes) -> None:
        if self._listens:
            self._hints.append(hint)

    async def listen(self) -> None:
        """See `Broker`."""
        self._check()
        self._listens = True

    async def hear(self) -> bytes:
        """See `Broker`."""
        while True:
            self._check()
            if self._hints:
                return self._hints.popleft()
            await self._server.changed.wait()

    async def depth(self) -> Depth:
        """See `Broker`."""
        self._check()
        taken = sum(len(client._taken) for client in self._server.clients)
        return Depth(len(self._server.waiting), taken, len(self._server.dead))

    async def aclose(self) -> None:
        """See `Broker`."""
        self.drop()

    def drop(self) -> None:
        """The connection is lost."""
        self._server.clients.discard(self)
        self._server.waiting.extendleft((each.job, True) for each in self._taken)
        self._taken.clear()
        self._hints.clear()
        self._listens = False
        self._server.stir()

    def _check(self) -> None:
        if self not in self._server.clients:
            raise BrokerAway("not connected")
