"""The `redis` delivery: an entry of a stream (XADD), or a message on a channel (PUBLISH).

An entry has the fields `id` and `event`; it stays in the stream until it is trimmed. A message on a
channel is a notification: it is delivered once it is said, whether anybody listens or not.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from roundtrip.deliver.broker_settings import RedisSettings
from roundtrip.deliver.packages import needed
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings

_CONNECTING = 10.0  # seconds


class Redis:
    """Tells the parcels of one delivery to a Redis server; implements `Delivery`."""

    def __init__(self, settings: DeliverySettings, action: RedisSettings) -> None:
        self._settings = action
        self._timeout = settings.timeout
        self._connections = settings.concurrency
        self._host = urlsplit(action.url).hostname or "?"
        self._client: Any = None

    async def deliver(self, parcel: Parcel) -> None:
        """Return when the server has answered that it has the entry, or has told the channel."""
        exceptions = needed("redis.exceptions", "redis")
        event = json.dumps(parcel.event(), separators=(",", ":"))
        try:
            await self._tell(self._opened(), parcel.id, event)
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
            raise Undelivered(True, f"{self._host}: {_words(error)}", away=True) from None
        except exceptions.RedisError as error:  # Out of memory, read-only, another type of key.
            raise Undelivered(True, f"{self._host}: {_words(error)}") from None

    async def _tell(self, client: Any, identity: str, event: str) -> None:
        if self._settings.stream is not None:
            await client.xadd(
                self._settings.stream,
                {"id": identity, "event": event},
                maxlen=self._settings.maxlen,
                approximate=True,
            )
        else:
            await client.publish(self._settings.channel, event)

    def _opened(self) -> Any:
        if self._client is None:
            redis = needed("redis.asyncio", "redis")
            # One that waits for a free connection: the other kind raises when all are in use.
            pool = redis.BlockingConnectionPool.from_url(
                self._settings.url,
                max_connections=self._connections,
                timeout=self._timeout,
                socket_connect_timeout=_CONNECTING,
                socket_timeout=self._timeout,
            )
            self._client = redis.Redis.from_pool(pool)
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
