"""Brokers of every kind for the contract suite, on servers that live as long as these tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from roundtrip.queue.address import broker
from roundtrip.queue.memory import MemoryBroker, MemoryServer
from roundtrip.queue.port import Broker
from tests.queue.servers import Nats, Rabbit, Redis, Server

IDLE = 1.0
"""Seconds after which Redis or NATS may give a message of a silent taker to another."""

QUORUM_SETTLED = 1.5  # seconds

_Server = TypeVar("_Server", bound=Server)

_numbers = itertools.count()


@pytest.fixture(scope="package")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A RabbitMQ server; tests that kill it start it again."""
    yield from _living(Rabbit(tmp_path_factory.mktemp("rabbit")))


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis server with an append-only file."""
    yield from _living(Redis(tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="package")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A NATS server with JetStream."""
    yield from _living(Nats(tmp_path_factory.mktemp("nats")))


def _living(server: _Server) -> Iterator[_Server]:
    try:
        server.start()
        yield server
    finally:
        server.end()


class Ground:
    """One queue at a broker, whichever it is, and what can be done to the broker."""

    def __init__(self, kind: str, server: Server | MemoryServer) -> None:
        self.kind = kind
        self.name = f"queue-{next(_numbers)}"
        self._server = server
        self._made: list[Broker] = []

    def broker(self) -> Broker:
        """A broker that is not connected yet."""
        if isinstance(self._server, MemoryServer):
            made: Broker = MemoryBroker(self._server)
        else:
            made = broker(self._server.url, self.name, idle=IDLE)
        self._made.append(made)
        return made

    async def connected(self) -> Broker:
        """A broker that is connected."""
        made = self.broker()
        await made.connect()
        return made

    async def kill(self) -> None:
        """The broker dies, and takes no connections."""
        if isinstance(self._server, MemoryServer):
            self._server.cut_off()
        else:
            if self.kind == "amqp":
                # RabbitMQ 3.10 loses a quorum queue that is younger than this when it is killed.
                await asyncio.sleep(QUORUM_SETTLED)
            self._server.kill()

    async def revive(self) -> None:
        """It is there again."""
        if isinstance(self._server, MemoryServer):
            self._server.come_back()
        else:
            await asyncio.to_thread(self._server.start)

    async def close(self) -> None:
        """Close what was made."""
        for made in self._made:
            await made.aclose()


_KINDS = [
    "memory",
    pytest.param("redis", marks=pytest.mark.needs("redis-server")),
    pytest.param("nats", marks=pytest.mark.needs("nats-server")),
    pytest.param("amqp", marks=pytest.mark.needs("rabbitmq-server")),
]


@pytest.fixture(params=_KINDS)
async def ground(request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    """See `Ground`."""
    if request.param == "memory":
        server: Server | MemoryServer = MemoryServer()
    else:
        server = request.getfixturevalue({"amqp": "rabbit"}.get(request.param, request.param))
    made = Ground(request.param, server)
    yield made
    await made.close()


Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait until something holds; a broker's counts lag behind."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.05)
