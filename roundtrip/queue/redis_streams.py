"""Redis: a stream with one consumer group, a stream of dead letters, and a channel for hints.

publish --XADD--> NAME --XREADGROUP--> a worker --XACK, XDEL-->
                    ^ XAUTOCLAIM          |  while at it: XCLAIM JUSTID
                    +--taker is gone------+--> NAME:dead (XADD), NAME:hints (PUBLISH)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from roundtrip.queue.address import shown
from roundtrip.queue.port import BrokerAway, Delivery, Depth

T = TypeVar("T")

_CONNECTING = 10.0  # seconds
_ANSWER = 20.0  # seconds without any answer, after which the connection counts as lost
_BLOCK = 2.0  # seconds that one question for messages waits at the server
_GROUP = "workers"
_DEAD_MOST = 100_000  # dead letters that are kept, about; then the oldest go
_FORGOTTEN = 86400.0  # seconds without a sign, after which a taker's name is removed


class RedisBroker:
    """Implements `Broker`."""

    def __init__(self, url: str, name: str, *, idle: float) -> None:
        """A message whose taker has not renewed it for `idle` seconds is delivered again."""
        self.label = shown(url)
        self._url = url
        self._stream, self._dead, self._channel = name, f"{name}:dead", f"{name}:hints"
        self._idle = int(idle * 1000)
        self._client: redis.Redis | None = None
        self._ears: Any = None
        self._me = ""
        self._most = 0
        self._taken: dict[Any, Delivery] = {}
        self._found: deque[Delivery] = deque()
        self._room = asyncio.Event()
        self._claim_due = 0.0
        self._lost = ""  # why the connection is of no use any more

    async def connect(self, *, make: bool = True) -> None:
        """See `Broker`."""
        await self.aclose()
        self._taken, self._found, self._most = {}, deque(), 0
        self._claim_due, self._lost = 0.0, ""
        # A name of its own for each connection: what the last one took is delivered again.
        self._me = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            pool = redis.BlockingConnectionPool.from_url(
                self._url,
                max_connections=8,
                timeout=_ANSWER,
                socket_connect_timeout=_CONNECTING,
                socket_timeout=_ANSWER,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise BrokerAway(f"{self.label}: {error}") from None
        self._client = redis.Redis.from_pool(pool)
        try:
            await self._do(self._client.ping())
            if make:
                await self._make_group(self._client)
        except BrokerAway:
            await self.aclose()
            raise

    async def _make_group(self, client: redis.Redis) -> None:
        try:
            await self._do(client.xgroup_create(self._stream, _GROUP, id="0", mkstream=True))
        except BrokerAway as error:
            if "BUSYGROUP" not in str(error):
                raise
            self._lost = ""

    async def publish(self, job: str) -> None:
        """See `Broker`."""
        await self._do(self._redis.xadd(self._stream, {"job": job}))

    async def consume(self, most: int) -> None:
        """See `Broker`."""
        self._most = most
        await self._do(self._redis.xgroup_createconsumer(self._stream, _GROUP, self._me))
        for known in await self._do(self._redis.xinfo_consumers(self._stream, _GROUP)):
            if known["pending"] == 0 and known["idle"] > _FORGOTTEN * 1000:
                await self._do(self._redis.xgroup_delconsumer(self._stream, _GROUP, known["name"]))

    async def take(self) -> Delivery:
        """See `Broker`."""
        while not self._found:
            self._room.clear()
            free = self._most - len(self._taken)
            if free <= 0:
                await self._await_room()
                continue
            if time.monotonic() >= self._claim_due:
                await self._claim(free)
            if not self._found:
                await self._read(free)
        return self._found.popleft()

    async def _await_room(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), _BLOCK)
        await self._do(self._redis.ping())  # Whoever waits hears that the server is gone.

    async def _claim(self, free: int) -> None:
        """Take over what somebody took, and gives no more signs of."""
        self._claim_due = time.monotonic() + self._idle / 2000
        answer: Any = await self._do(
            self._redis.xautoclaim(
                self._stream, _GROUP, self._me, min_idle_time=self._idle, count=free
            )
        )
        self._note(answer[1], again=True)

    async def _read(self, free: int) -> None:
        answer: Any = await self._do(
            self._redis.xreadgroup(
                _GROUP, self._me, {self._stream: ">"}, count=free, block=int(_BLOCK * 1000)
            )
        )
        # RESP2 gives a list of pairs, RESP3 a mapping with one more level of lists.
        found = answer.values() if isinstance(answer, dict) else [each[1] for each in answer or []]
        for entries in found:
            self._note(entries[0] if isinstance(answer, dict) else entries, again=False)

    def _note(self, entries: list[Any], *, again: bool) -> None:
        for key, fields in entries:
            if key in self._taken:
                continue  # Our own, of which a sign came late.
            job = fields.get(b"job", b"").decode(errors="replace")
            delivery = Delivery(job, again, key)
            self._taken[key] = delivery
            self._found.append(delivery)

    async def ack(self, delivery: Delivery) -> None:
        """See `Broker`."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(self._stream, _GROUP, delivery.key)
            pipe.xdel(self._stream, delivery.key)
            await self._do(pipe.execute())
        self._settled(delivery)

    async def bury(self, delivery: Delivery) -> None:
        """See `Broker`."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(self._dead, {"job": delivery.job}, maxlen=_DEAD_MOST, approximate=True)
            pipe.xack(self._stream, _GROUP, delivery.key)
            pipe.xdel(self._stream, delivery.key)
            await self._do(pipe.execute())
        self._settled(delivery)

    def _settled(self, delivery: Delivery) -> None:
        self._taken.pop(delivery.key, None)
        self._room.set()

    async def renew(self) -> None:
        """See `Broker`."""
        if self._taken:
            await self._do(
                self._redis.xclaim(
                    self._stream, _GROUP, self._me, 0, list(self._taken), justid=True
                )
            )

    async def tell(self, hint: bytes) -> None:
        """See `Broker`."""
        await self._do(self._redis.publish(self._channel, hint))

    async def listen(self) -> None:
        """See `Broker`."""
        self._ears = self._redis.pubsub(ignore_subscribe_messages=True)
        await self._do(self._ears.subscribe(self._channel))

    async def hear(self) -> bytes:
        """See `Broker`."""
        while True:
            found = await self._do(self._ears.get_message(timeout=_BLOCK))
            if found is not None and found["type"] == "message":
                return bytes(found["data"])
            if found is None:  # A connection that is silently dead answers no ping.
                await self._do(self._redis.ping())

    async def depth(self) -> Depth:
        """See `Broker`."""
        length = await self._do(self._redis.xlen(self._stream))
        pending = await self._do(self._redis.xpending(self._stream, _GROUP))
        dead = await self._do(self._redis.xlen(self._dead))
        taken = int(pending["pending"])
        return Depth(max(length - taken, 0), taken, dead)

    async def aclose(self) -> None:
        """See `Broker`."""
        client, self._client = self._client, None
        ears, self._ears = self._ears, None
        if client is None:
            return
        try:
            await self._release(client)
            if ears is not None:
                await ears.aclose()
            await client.aclose()
            await client.connection_pool.aclose()
        except (RedisError, OSError, TimeoutError):
            return  # It is lost already.

    async def _release(self, client: redis.Redis) -> None:
        """Let others have what was taken and not settled at once."""
        if not self._most:
            return
        async with asyncio.timeout(_CONNECTING):
            pending: Any = await client.xpending_range(
                self._stream, _GROUP, "-", "+", 10_000, consumername=self._me
            )
            keys = [each["message_id"] for each in pending]
            if keys:
                # As if they had been idle for as long as it takes: the next question finds them.
                await client.xclaim(
                    self._stream, _GROUP, self._me, 0, keys, idle=self._idle, justid=True
                )

    @property
    def _redis(self) -> redis.Redis:
        if self._client is None or self._lost:
            raise BrokerAway(f"{self.label}: {self._lost or 'not connected'}")
        return self._client

    async def _do(self, work: Awaitable[T]) -> T:
        """Wait for an answer; after the first failure, nothing works until `connect`.

        The client would connect anew by itself, and a message whose acknowledgement got lost in
        between would count as taken for ever.
        """
        try:
            return await work
        except (RedisError, OSError, TimeoutError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            self._lost = self._lost or text
            self._room.set()
            raise BrokerAway(f"{self.label}: {text}") from None
