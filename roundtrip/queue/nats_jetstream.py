"""NATS: a JetStream work queue with one durable consumer, a stream of dead letters, and hints.

publish --stored--> NAME --one asked for at a time--> a worker --ack, confirmed-->
                     ^                                   |  while at it: in progress
                     +--no sign for `idle` seconds-------+--> NAME.dead, NAME.hints (core NATS)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import SecureConnRequiredError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import APIError

from roundtrip.queue.address import place, shown
from roundtrip.queue.losing import PATIENCE, Line, noted
from roundtrip.queue.port import BrokerAway, Delivery, Depth

T = TypeVar("T")

# It tells of lost connections with tracebacks; what it means is told by whoever gets BrokerAway.
logging.getLogger("nats").setLevel(logging.CRITICAL)

_CONNECTING = 10  # seconds
_CLOSING = 1.0  # seconds
_PING = 15  # seconds; after two without an answer the connection is given up
_BLOCK = 2.0  # seconds that one question for a message waits at the server
_GROUP = "workers"
_DEAD_MOST = 100_000  # dead letters that are kept; then the oldest go
_TROUBLE = (NatsError, OSError, TimeoutError)


class _Connection(Client):
    """Asks for TLS where the address does; the library leaves that to the server.

    Who sits between the two could make a server look as if it had no TLS, and read the password.
    """

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise SecureConnRequiredError
        return super()._connect_command()


@dataclass(slots=True)
class _Opened:
    """What one connection has open."""

    client: Client
    stream: JetStreamContext
    source: JetStreamContext.PullSubscription | None = None
    ears: Subscription | None = None
    asking: asyncio.Task[list[Msg]] | None = None
    taken: dict[int, Msg] = field(default_factory=dict)  # by its place in the stream
    room: asyncio.Event = field(default_factory=asyncio.Event)


class NatsBroker:
    """Implements `Broker`."""

    def __init__(self, url: str, name: str, *, idle: float) -> None:
        """A message whose taker has not renewed it for `idle` seconds is delivered again."""
        self.label = shown(url)
        self._url = url
        self._name, self._dead, self._hints = name, f"{name}.dead", f"{name}.hints"
        self._idle = idle
        self._most = 0
        self._line: Line
        self._opened: _Opened | None = None

    async def connect(self, *, make: bool = True) -> None:
        """See `Broker`."""
        await self.aclose()
        self._line = Line(self.label)
        client = _Connection()
        try:
            # Left alone, it would try the same address for ever: the first error ends it.
            connecting = client.connect(**self._options(self._line))
            await self._line.unless_lost(connecting, _CONNECTING)
            stream = client.jetstream(timeout=PATIENCE)
            if make:
                await self._line.unless_lost(self._make(stream), PATIENCE)
        except BrokerAway:
            await _close(client)
            raise
        except (*_TROUBLE, ValueError) as error:
            await _close(client)
            raise BrokerAway(f"{self.label}: {_words(error)}") from None
        self._opened = _Opened(client, stream)

    def _options(self, line: Line) -> dict[str, Any]:
        parts = urlsplit(self._url)
        host, port = place(self._url)
        address = f"[{host}]" if ":" in host else host

        async def on_close() -> None:
            line.lose("the connection was closed")

        async def on_error(error: Exception) -> None:
            line.lose(_words(error))

        return {
            "servers": f"{parts.scheme}://{address}:{port}",
            "user": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
            "allow_reconnect": False,  # What was taken belongs to the connection that took it.
            "connect_timeout": _CONNECTING,
            "ping_interval": _PING,
            "closed_cb": on_close,
            "error_cb": on_error,
        }

    async def _make(self, stream: JetStreamContext) -> None:
        await stream.add_stream(
            StreamConfig(
                name=_stream(self._name),
                subjects=[self._name],
                retention=RetentionPolicy.WORK_QUEUE,
            )
        )
        await stream.add_stream(
            StreamConfig(
                name=_stream(self._dead),
                subjects=[self._dead],
                max_msgs=_DEAD_MOST,
                discard=DiscardPolicy.OLD,
            )
        )
        await stream.add_consumer(
            _stream(self._name),
            ConsumerConfig(durable_name=_GROUP, ack_wait=self._idle, max_ack_pending=-1),
        )

    async def publish(self, job: str) -> None:
        """See `Broker`."""
        await self._do(self._here.stream.publish(self._name, job.encode()))

    async def consume(self, most: int) -> None:
        """See `Broker`."""
        here = self._here
        self._most = most
        binding = here.stream.pull_subscribe_bind(_GROUP, _stream(self._name))
        here.source = await self._do(binding)

    async def take(self) -> Delivery:
        """See `Broker`."""
        line, here = self._line, self._here
        message = await self._do(self._next(here))
        metadata = message.metadata
        key = metadata.sequence.stream
        here.taken[key] = message
        return Delivery(
            message.data.decode(errors="replace"), metadata.num_delivered > 1, (line, key)
        )

    async def _next(self, here: _Opened) -> Msg:
        """The question goes on at the server when whoever waits here is cancelled."""
        assert here.source is not None
        while True:
            while len(here.taken) >= self._most:
                here.room.clear()
                await here.room.wait()
            if here.asking is None:
                here.asking = asyncio.ensure_future(here.source.fetch(1, _BLOCK))
                here.asking.add_done_callback(noted)
            await asyncio.wait([here.asking])
            answer, here.asking = here.asking, None
            with contextlib.suppress(TimeoutError):  # Nothing was there.
                return answer.result()[0]

    async def ack(self, delivery: Delivery) -> None:
        """See `Broker`."""
        message = self._message(delivery)
        await self._do(message.ack_sync(PATIENCE))
        self._settled(delivery)

    async def bury(self, delivery: Delivery) -> None:
        """See `Broker`."""
        message = self._message(delivery)
        await self._do(self._here.stream.publish(self._dead, message.data))
        await self._do(message.ack_sync(PATIENCE))
        self._settled(delivery)

    def _message(self, delivery: Delivery) -> Msg:
        line, key = delivery.key
        if line is not self._line or line.is_lost:  # The broker gives it to somebody else.
            raise BrokerAway(f"{self.label}: the connection that brought {delivery.job} is lost")
        return self._here.taken[key]

    def _settled(self, delivery: Delivery) -> None:
        here = self._here
        here.taken.pop(delivery.key[1], None)
        here.room.set()

    async def renew(self) -> None:
        """See `Broker`."""
        for message in list(self._here.taken.values()):
            await self._do(message.in_progress())

    async def tell(self, hint: bytes) -> None:
        """See `Broker`."""
        client = self._here.client
        await self._do(client.publish(self._hints, hint))
        await self._do(client.flush(_CONNECTING))  # It is not only written down to be sent.

    async def listen(self) -> None:
        """See `Broker`."""
        here = self._here
        here.ears = await self._do(here.client.subscribe(self._hints))
        await self._do(here.client.flush(_CONNECTING))  # The server has it: hints come from now on.

    async def hear(self) -> bytes:
        """See `Broker`."""
        ears = self._here.ears
        assert ears is not None
        return (await self._do(ears.next_msg(None))).data

    async def depth(self) -> Depth:
        """See `Broker`."""
        stream = self._here.stream
        found = await self._do(stream.consumer_info(_stream(self._name), _GROUP))
        dead = await self._do(stream.stream_info(_stream(self._dead)))
        return Depth(found.num_pending or 0, found.num_ack_pending, dead.state.messages)

    async def aclose(self) -> None:
        """See `Broker`."""
        here, self._opened = self._opened, None
        if here is None:
            return
        if here.asking is not None:
            here.asking.cancel()
        with contextlib.suppress(*_TROUBLE):  # It is lost already.
            async with asyncio.timeout(_CONNECTING):
                for message in here.taken.values():
                    await message.nak()  # Let others have it at once.
                await here.client.flush()
        self._line.lose("the connection was closed")
        await _close(here.client)

    @property
    def _here(self) -> _Opened:
        if self._opened is None:
            raise BrokerAway(f"{self.label}: not connected")
        return self._opened

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._line.unless_lost(work)
        except _TROUBLE as error:
            self._line.lose(_words(error))
            raise self._line.error() from None


async def _close(client: Client) -> None:
    """A connection that failed in its TLS handshake would never say that it is closed."""
    with contextlib.suppress(*_TROUBLE):
        async with asyncio.timeout(_CLOSING):
            await client.close()


def _stream(subject: str) -> str:
    """A stream's name has no dots; no queue's name has "="."""
    return subject.replace(".", "=")


def _words(error: BaseException) -> str:
    """What an error of the library says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, APIError) and error.description:
        return error.description
    text = " ".join(str(error).split()).removeprefix("nats: ").strip("'")
    return text or type(error).__name__
