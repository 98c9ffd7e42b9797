"""RabbitMQ: a quorum queue, its dead-letter queue, and a fanout exchange for hints (AMQP 0-9-1).

publish --mandatory, confirmed--> NAME --consume, prefetch--> a worker --ack-->
                                    | reject                     |
                                 NAME.dead          NAME.hints --+--> the agent's own queue
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aio_pika
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import AMQPException, ChannelPreconditionFailed

from roundtrip.queue.address import shown
from roundtrip.queue.losing import PATIENCE, Line
from roundtrip.queue.port import BrokerAway, Delivery, Depth

T = TypeVar("T")

# They tell of lost connections with tracebacks; what it means is told by whoever gets BrokerAway.
for _library in ("aio_pika", "aiormq"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

_CONNECTING = 10.0  # seconds
_HEARTBEAT = 15  # seconds; after two without a sign the connection is given up by either side
_LONGEST = 30 * 86_400_000  # milliseconds that a worker may keep a message (x-consumer-timeout)
_DEAD_MOST = 100_000  # dead letters that are kept; then the oldest go
_HINTS_MOST = 10_000
_TROUBLE = (AMQPException, OSError, TimeoutError, RuntimeError)
"""What the library raises when a connection is lost, at whatever point."""


@dataclass(slots=True)
class _Opened:
    """What one connection has open."""

    channel: AbstractChannel  # what is published with confirms, and what is taken
    queue: AbstractQueue
    casual: AbstractChannel  # hints, without confirms
    hints: AbstractExchange
    taken: asyncio.Queue[AbstractIncomingMessage] = field(default_factory=asyncio.Queue)
    heard: asyncio.Queue[AbstractIncomingMessage] = field(default_factory=asyncio.Queue)


class AmqpBroker:
    """Implements `Broker`."""

    def __init__(self, url: str, name: str) -> None:
        self.label = shown(url)
        self._url = url
        self._name = name
        self._connection: AbstractConnection | None = None
        self._line: Line
        self._channels: _Opened | None = None

    async def connect(self, *, make: bool = True) -> None:
        """See `Broker`."""
        await self.aclose()
        self._line = Line(self.label)
        try:
            self._connection = await aio_pika.connect(
                self._url, timeout=_CONNECTING, heartbeat=_HEARTBEAT
            )
            self._connection.close_callbacks.add(self._on_close)
            if make:
                opening = self._open(self._connection)
                self._channels = await self._line.unless_lost(opening, PATIENCE)
        except ChannelPreconditionFailed:
            await self.aclose()
            raise BrokerAway(
                f"{self.label}: the queue {self._name} (or {self._name}.dead) is there with other "
                "properties; choose another queue.name, or delete it"
            ) from None
        except (*_TROUBLE, ValueError) as error:
            await self.aclose()
            raise BrokerAway(f"{self.label}: {_words(error)}") from None

    async def _open(self, connection: AbstractConnection) -> _Opened:
        channel = await connection.channel(on_return_raises=True)
        dead = f"{self._name}.dead"
        await channel.declare_queue(
            dead, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": _DEAD_MOST}
        )
        queue = await channel.declare_queue(
            self._name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": dead,
                "x-consumer-timeout": _LONGEST,
            },
        )
        casual = await connection.channel(publisher_confirms=False)
        hints = await casual.declare_exchange(
            f"{self._name}.hints", aio_pika.ExchangeType.FANOUT, durable=True
        )
        for each in (channel, casual):
            each.close_callbacks.add(self._on_close)
        return _Opened(channel, queue, casual, hints)

    def _on_close(self, sender: object, error: BaseException | None) -> None:
        self._line.lose(_words(error) if error else "the connection was closed")

    async def publish(self, job: str) -> None:
        """See `Broker`."""
        message = aio_pika.Message(
            b"", message_id=job, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        exchange = self._here.channel.default_exchange
        await self._do(exchange.publish(message, self._name))

    async def consume(self, most: int) -> None:
        """See `Broker`."""
        await self._do(self._consume(self._here, most))

    async def _consume(self, opened: _Opened, most: int) -> None:
        await opened.channel.set_qos(prefetch_count=most)
        underlay = await opened.channel.get_underlay_channel()
        # aiormq has them since 7; before, a queue that is deleted is noticed by the agent only.
        callbacks = getattr(underlay, "on_consumer_cancel_callbacks", None)
        if callbacks is not None:
            callbacks.add(self._on_cancel)
        await opened.queue.consume(opened.taken.put)

    def _on_cancel(self, *_: object) -> None:
        """The broker says that the queue was deleted, or has moved (consumer_cancel_notify)."""
        self._line.lose("the queue is gone")

    async def take(self) -> Delivery:
        """See `Broker`."""
        line = self._line
        message = await line.unless_lost(self._here.taken.get())
        return Delivery(message.message_id or "", bool(message.redelivered), (line, message))

    async def ack(self, delivery: Delivery) -> None:
        """See `Broker`."""
        await self._do(self._message(delivery).ack())

    async def bury(self, delivery: Delivery) -> None:
        """See `Broker`."""
        await self._do(self._message(delivery).reject(requeue=False))

    def _message(self, delivery: Delivery) -> AbstractIncomingMessage:
        line, message = delivery.key
        if line is not self._line or line.is_lost:  # The broker has it back already.
            raise BrokerAway(f"{self.label}: the connection that brought {delivery.job} is lost")
        assert isinstance(message, AbstractIncomingMessage)
        return message

    async def renew(self) -> None:
        """See `Broker`: the connection's heartbeat says it."""

    async def tell(self, hint: bytes) -> None:
        """See `Broker`."""
        await self._do(self._here.hints.publish(aio_pika.Message(hint), "", mandatory=False))

    async def listen(self) -> None:
        """See `Broker`."""
        await self._do(self._listen(self._here))

    async def _listen(self, opened: _Opened) -> None:
        own = await opened.casual.declare_queue(
            exclusive=True, auto_delete=True, arguments={"x-max-length": _HINTS_MOST}
        )
        await own.bind(opened.hints)
        await own.consume(opened.heard.put, no_ack=True)

    async def hear(self) -> bytes:
        """See `Broker`."""
        return (await self._line.unless_lost(self._here.heard.get())).body

    async def depth(self) -> Depth:
        """See `Broker`."""
        if self._connection is None:
            raise self._not_connected()
        return await self._do(self._look(self._connection))

    async def _look(self, connection: AbstractConnection) -> Depth:
        # A queue that is missing closes the channel that asks for it.
        async with await connection.channel() as channel:
            counts = []
            for name in (self._name, f"{self._name}.dead"):
                found = await channel.declare_queue(name, passive=True)
                counts.append(found.declaration_result.message_count or 0)
        return Depth(counts[0], None, counts[1])

    async def aclose(self) -> None:
        """See `Broker`."""
        connection, self._connection, self._channels = self._connection, None, None
        if connection is None:
            return
        self._line.lose("the connection was closed")
        try:
            await asyncio.wait_for(connection.close(), PATIENCE)
        except _TROUBLE:
            return  # It is lost already.

    @property
    def _here(self) -> _Opened:
        if self._channels is None:
            raise self._not_connected()
        return self._channels

    def _not_connected(self) -> BrokerAway:
        return BrokerAway(f"{self.label}: not connected")

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._line.unless_lost(work, PATIENCE)
        except _TROUBLE as error:
            self._line.lose(_words(error))
            raise self._line.error() from None


def _words(error: BaseException) -> str:
    """What an error of the library says, in one line and without the address it was for."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text.split("amqp://")[0].split("amqps://")[0].rstrip() or type(error).__name__
