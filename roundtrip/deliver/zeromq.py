"""The `zeromq` delivery: a message from socket to socket, without a broker.

    pub   topic, event --> whoever is connected and listens      delivered once it is said
    push  event --> one of those connected                       delivered once one takes it
    req   event --> the peer --any answer--> delivered           tried again without an answer

ZeroMQ has no acknowledgement of its own: what `push` has handed to a peer that dies is lost with
it. Where that matters, `req` waits for the peer's own word.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from roundtrip.deliver.broker_settings import ZeromqSettings
from roundtrip.deliver.packages import needed
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings

_LAST_WORDS = 1000  # milliseconds that a closed socket has for what it still holds


class Zeromq:
    """Sends the parcels of one delivery; implements `Delivery` and `Listening`."""

    def __init__(self, settings: DeliverySettings, action: ZeromqSettings) -> None:
        self._settings = action
        self._where = action.bind or action.connect or "?"
        self._socket: Any = None
        self._one = asyncio.Lock()  # a socket is for one task at a time

    async def open(self) -> None:
        """See `Listening`."""
        if self._socket is None:
            self._socket = self._made()

    async def deliver(self, parcel: Parcel) -> None:
        """See the table above; it is the runner that gives up waiting for a peer."""
        event = json.dumps(parcel.event(), separators=(",", ":")).encode()
        async with self._one:
            await self.open()
            zmq = needed("zmq", "zeromq")
            try:
                await self._send(event)
            except zmq.ZMQError as error:
                self._close()
                raise Undelivered(True, f"{self._where}: {error}", away=True) from None
            except asyncio.CancelledError:
                self._close()  # A request without its answer can't be followed by another.
                raise

    async def _send(self, event: bytes) -> None:
        if self._settings.pattern == "pub":
            await self._socket.send_multipart([self._settings.topic.encode(), event])
            return
        await self._socket.send(event)
        if self._settings.pattern == "req":
            await self._socket.recv()

    def _made(self) -> Any:
        zmq = needed("zmq", "zeromq")
        asynchronous = needed("zmq.asyncio", "zeromq")
        kind = {"pub": zmq.PUB, "push": zmq.PUSH, "req": zmq.REQ}[self._settings.pattern]
        made = asynchronous.Context.instance().socket(kind)
        made.linger = _LAST_WORDS
        # Nothing is queued for peers that are not there: it waits here, where it is durable.
        made.setsockopt(zmq.IMMEDIATE, 1)
        made.setsockopt(zmq.HEARTBEAT_IVL, 10_000)  # milliseconds
        if self._settings.pattern == "push":
            made.sndhwm = 1
        try:
            if self._settings.bind is not None:
                made.bind(self._settings.bind)
            else:
                made.connect(self._settings.connect)
        except zmq.ZMQError as error:
            made.close(0)
            raise Undelivered(True, f"{self._where}: {error}", away=True) from None
        return made

    def _close(self, linger: int = 0) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            made.close(linger)

    async def aclose(self) -> None:
        """Close the socket; what it has taken is sent as far as that goes within a second."""
        self._close(_LAST_WORDS)
