"""The `amqp` delivery: a persistent message to an exchange of RabbitMQ (AMQP 0-9-1).

    parcel --publish, mandatory--> exchange --routing key--> a queue --confirmed--> delivered
                                            --no queue-----> returned: tried again

The message's id is the parcel's, so that a receiver can drop doubles.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlsplit

from roundtrip.deliver import content
from roundtrip.deliver.broker_settings import AmqpSettings
from roundtrip.deliver.fields import Fielding
from roundtrip.deliver.packages import needed
from roundtrip.deliver.port import Parcel, Undelivered, printable
from roundtrip.deliver.settings import DeliverySettings
from roundtrip.errors import RecordFault
from roundtrip.template import Template

_CONNECTING = 10.0  # seconds
_LONGEST_KEY = 255  # bytes of a routing key (AMQP 0-9-1, section 4.2.5.3)
_EVENT = "application/json"


class Amqp:
    """Publishes the parcels of one delivery over one connection; implements `Delivery`."""

    def __init__(self, settings: DeliverySettings, action: AmqpSettings) -> None:
        self._settings = action
        self._host = urlsplit(action.url).hostname or "?"
        self._fields = Fielding(settings.fields)
        self._key = Template(action.routing_key)
        self._connection: Any = None
        self._exchange: Any = None
        self._connecting = asyncio.Lock()

    async def deliver(self, parcel: Parcel) -> None:
        """Return when the broker has confirmed that it has the message in a queue."""
        pika = needed("aio_pika", "amqp")
        key = await self._routing_key(parcel)
        message = self._message(pika, parcel)
        exchange = await self._opened(pika)
        publishing = asyncio.ensure_future(exchange.publish(message, key, mandatory=True))
        try:
            # The library cancels what waits on a lost connection: that must not look like us.
            await asyncio.wait([publishing])
            if publishing.cancelled():
                raise self._away("the connection was lost")
            publishing.result()
        except pika.exceptions.DeliveryError as error:
            raise self._unrouted(error, key) from None
        except (pika.exceptions.AMQPError, OSError, RuntimeError) as error:
            raise self._away(_words(error)) from None
        except BaseException:
            publishing.cancel()
            await self._drop()  # What was published in part says nothing of the next.
            raise

    async def _routing_key(self, parcel: Parcel) -> str:
        fields = await self._fields.of(parcel, self._key.fields)
        try:
            key = self._key.render(fields, str)
        except RecordFault as fault:
            raise Undelivered(False, f"amqp.routing_key: {fault.detail}") from None
        if len(key.encode(errors="replace")) > _LONGEST_KEY:
            raise Undelivered(False, f"amqp.routing_key: more than {_LONGEST_KEY} bytes")
        return key

    def _message(self, pika: Any, parcel: Parcel) -> Any:
        event = parcel.event()
        if self._settings.body == "file":
            if parcel.size > self._settings.most:
                text = f"{parcel.size} bytes; amqp.most is {self._settings.most}"
                raise Undelivered(False, text)
            body, kind = content.whole(parcel), content.media_type(parcel)
        else:
            body, kind = json.dumps(event, separators=(",", ":")).encode(), _EVENT
        return pika.Message(
            body,
            message_id=parcel.id,
            content_type=kind,
            delivery_mode=pika.DeliveryMode.PERSISTENT,
            type=f"roundtrip.{parcel.outcome}",
            app_id="roundtrip",
            headers={
                "exchange": parcel.exchange,
                "original_name": printable(parcel.original_name),
                "outcome": parcel.outcome,
                "pipeline": parcel.pipeline or "",
                "sha256": parcel.sha256,
            },
        )

    async def _opened(self, pika: Any) -> Any:
        """The exchange, over a connection that is made when it is needed."""
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed:
                return self._exchange
            await self._drop()
            # It logs lost connections with tracebacks; what they mean is told by `Undelivered`.
            for library in ("aio_pika", "aiormq"):
                logging.getLogger(library).setLevel(logging.CRITICAL)
            try:
                self._connection = await pika.connect(self._settings.url, timeout=_CONNECTING)
                channel = await self._connection.channel(on_return_raises=True)
                channel.close_callbacks.add(self._on_close)
                self._exchange = await self._find(channel)
            except pika.exceptions.ChannelNotFoundEntity:
                await self._drop()
                text = f"{self._host}: there is no exchange {self._settings.exchange}; make it"
                raise Undelivered(True, text, away=True) from None
            except (pika.exceptions.AMQPError, OSError, RuntimeError, ValueError) as error:
                await self._drop()
                raise self._away(_words(error)) from None
            return self._exchange

    async def _find(self, channel: Any) -> Any:
        if not self._settings.exchange:
            return channel.default_exchange
        return await channel.get_exchange(self._settings.exchange, ensure=True)

    def _on_close(self, channel: object, error: BaseException | None) -> None:
        """A channel is closed when an exchange goes: the next parcel looks again."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed:
            self._closing = asyncio.ensure_future(connection.close())

    def _unrouted(self, error: Any, key: str) -> Undelivered:
        if getattr(error, "frame", None) is not None and hasattr(error.frame, "reply_text"):
            where = self._settings.exchange or "the default exchange"
            text = f"{self._host}: {where} has no queue for the routing key {key!r}; bind one"
            return Undelivered(True, text)
        return Undelivered(True, f"{self._host}: the broker refuses the message (full queue?)")

    def _away(self, text: str) -> Undelivered:
        return Undelivered(True, f"{self._host}: {text}", away=True)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await asyncio.wait_for(connection.close(), 5.0)
            except (OSError, TimeoutError, RuntimeError):
                return  # It was lost already.

    async def aclose(self) -> None:
        """Close the connection."""
        await self._drop()


def _words(error: BaseException) -> str:
    """What an error of the library says, in one line and without the address it was for."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text.split("amqp://")[0].split("amqps://")[0].rstrip() or type(error).__name__
