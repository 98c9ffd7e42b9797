"""Deliveries to RabbitMQ, Redis and ZeroMQ peers, all of them real."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import aio_pika
import pytest
import redis.asyncio as redis_client

from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings, ZeromqSettings
from roundtrip.deliver.make import maker
from roundtrip.deliver.port import Delivery, Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings
from tests.deliver.parcels import parcel_of
from tests.e2e.api import Api
from tests.e2e.world import World
from tests.queue.conftest import QUORUM_SETTLED
from tests.queue.conftest import rabbit as rabbit
from tests.queue.conftest import redis as redis
from tests.queue.servers import Rabbit, Redis, free_port

SOON = 20.0
CONTENT = b"key,label\none,1\n"

needs_rabbit = pytest.mark.needs("rabbitmq-server")
needs_redis = pytest.mark.needs("redis-server")


def delivery(action: Any, **more: Any) -> Delivery:
    """The adapter that a configuration with this action gets."""
    return maker(DeliverySettings("tell", action, **more))()


@asynccontextmanager
async def closing(made: Delivery) -> AsyncIterator[Delivery]:
    try:
        yield made
    finally:
        await made.aclose()


def parcels(folder: Path, count: int) -> list[Parcel]:
    """So many parcels."""
    return [parcel_of(folder, CONTENT, number) for number in range(count)]


async def persist(made: Delivery, parcel: Parcel) -> None:
    """Deliver as the runner does: again and again while the trouble is a passing one."""
    async with asyncio.timeout(60.0):
        while True:
            try:
                await asyncio.wait_for(made.deliver(parcel), 5.0)
                return
            except (Undelivered, TimeoutError) as error:
                assert isinstance(error, TimeoutError) or error.passing, error.text
                await asyncio.sleep(0.1)


# -- amqp


@asynccontextmanager
async def bound(rabbit: Rabbit, name: str, key: str) -> AsyncIterator[Any]:
    """A topic exchange, with a durable queue bound to it by `key`."""
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(f"{name}.q", durable=True)
        await queue.bind(exchange, key)
        yield queue


@needs_rabbit
async def test_a_message_says_what_is_ready_and_survives_the_broker(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    settings = AmqpSettings(rabbit.url, "files", "ready.{pipeline}")
    async with bound(rabbit, "files", "ready.#") as queue, closing(delivery(settings)) as made:
        await made.deliver(parcel)
        message = await queue.get(timeout=SOON)
        assert message.message_id == parcel.id
        assert message.routing_key == "ready.invoices"
        assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
        assert json.loads(message.body) == parcel.event()
        await message.ack()


@needs_rabbit
async def test_a_message_may_be_the_file_itself_but_not_one_that_is_too_large(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    settings = AmqpSettings(rabbit.url, "whole", "x", body="file", most=len(CONTENT))
    async with bound(rabbit, "whole", "x") as queue, closing(delivery(settings)) as made:
        await made.deliver(parcel)
        message = await queue.get(timeout=SOON)
        assert (message.body, message.content_type) == (CONTENT, "text/csv")
        assert message.headers["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        with pytest.raises(Undelivered, match=r"amqp\.most") as caught:
            await made.deliver(replace(parcel, size=len(CONTENT) + 1))
        assert not caught.value.passing


@needs_rabbit
async def test_a_message_that_reaches_no_queue_is_not_delivered(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    settings = AmqpSettings(rabbit.url, "strict", "other")
    async with bound(rabbit, "strict", "only.this") as queue, closing(delivery(settings)) as made:
        with pytest.raises(Undelivered, match="has no queue for the routing key") as caught:
            await made.deliver(parcel)
        assert caught.value.passing
        await queue.bind("strict", "other")
        await made.deliver(parcel)
        assert (await queue.get(timeout=SOON)).message_id == parcel.id


@needs_rabbit
async def test_a_missing_exchange_is_named_and_found_once_it_is_made(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with closing(delivery(AmqpSettings(rabbit.url, "later", "x"))) as made:
        with pytest.raises(Undelivered, match="no exchange later"):
            await made.deliver(parcel)
        async with bound(rabbit, "later", "x") as queue:
            await made.deliver(parcel)
            assert (await queue.get(timeout=SOON)).message_id == parcel.id


@needs_rabbit
async def test_no_message_is_lost_when_the_broker_is_killed_in_the_middle(
    rabbit: Rabbit, tmp_path: Path
) -> None:
    wanted = parcels(tmp_path, 60)
    async with bound(rabbit, "kill", "x"):
        await asyncio.sleep(QUORUM_SETTLED)
    async with closing(delivery(AmqpSettings(rabbit.url, "kill", "x"))) as made:
        sending = asyncio.create_task(_in_turn(made, wanted, kill_after=20, kill=rabbit.kill))
        await asyncio.wait_for(sending, SOON)
        with pytest.raises(Undelivered) as caught:
            await made.deliver(wanted[20])
        assert caught.value.passing and caught.value.away
        assert "guest" not in caught.value.text
        await asyncio.to_thread(rabbit.start)
        for parcel in wanted[20:]:
            await persist(made, parcel)
    async with bound(rabbit, "kill", "x") as queue:
        found: set[str] = set()
        while len(found) < len(wanted):
            message = await queue.get(timeout=SOON)
            found.add(message.message_id)
            await message.ack()
    assert found == {parcel.id for parcel in wanted}


async def _in_turn(
    made: Delivery, wanted: list[Parcel], *, kill_after: int, kill: Callable[[], None]
) -> None:
    for parcel in wanted[:kill_after]:
        await persist(made, parcel)
    kill()


# -- redis


@needs_redis
async def test_a_stream_gets_an_entry_and_a_channel_a_message(redis: Redis, tmp_path: Path) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with redis_client.Redis.from_url(redis.url, decode_responses=True) as client:
        async with closing(delivery(RedisSettings(redis.url, stream="ready"))) as made:
            await made.deliver(parcel)
        entry = cast(Any, await client.xrange("ready"))[0][1]
        assert entry["id"] == parcel.id
        assert json.loads(entry["event"]) == parcel.event()

        async with client.pubsub(ignore_subscribe_messages=True) as ears:
            await ears.subscribe("news")
            await ears.get_message(timeout=SOON)  # the subscription's own
            async with closing(delivery(RedisSettings(redis.url, channel="news"))) as made:
                await made.deliver(parcel)
            heard = None
            while heard is None:
                heard = await ears.get_message(timeout=SOON)
        assert json.loads(heard["data"]) == parcel.event()


@needs_redis
async def test_a_stream_keeps_about_as_many_entries_as_it_may(redis: Redis, tmp_path: Path) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with closing(delivery(RedisSettings(redis.url, stream="short", maxlen=10))) as made:
        for _ in range(400):
            await made.deliver(parcel)
    async with redis_client.Redis.from_url(redis.url) as client:
        assert 10 <= await client.xlen("short") < 200  # whole nodes of a hundred entries go


@needs_redis
async def test_no_entry_is_lost_when_the_server_is_killed_in_the_middle(
    redis: Redis, tmp_path: Path
) -> None:
    wanted = parcels(tmp_path, 90)
    async with closing(delivery(RedisSettings(redis.url, stream="kill"), concurrency=3)) as made:
        await _in_turn(made, wanted, kill_after=30, kill=redis.kill)
        with pytest.raises(Undelivered) as caught:
            await made.deliver(wanted[30])
        assert caught.value.passing and caught.value.away
        await asyncio.to_thread(redis.start)
        await asyncio.gather(*(persist(made, parcel) for parcel in wanted[30:]))
    async with redis_client.Redis.from_url(redis.url, decode_responses=True) as client:
        found = {entry["id"] for _, entry in cast(Any, await client.xrange("kill"))}
    assert found == {parcel.id for parcel in wanted}


@needs_redis
async def test_a_key_of_another_type_is_told_without_calling_the_server_away(
    redis: Redis, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with redis_client.Redis.from_url(redis.url) as client:
        await client.set("taken", "a string")
    async with closing(delivery(RedisSettings(redis.url, stream="taken"))) as made:
        with pytest.raises(Undelivered, match="WRONGTYPE") as caught:
            await made.deliver(parcel)
    assert caught.value.passing and not caught.value.away


# -- zeromq

PEER = """
import json, sys, zmq
kind, how, where, count = sys.argv[1:5]
socket = zmq.Context().socket(getattr(zmq, kind))
if kind == "SUB":
    socket.setsockopt(zmq.SUBSCRIBE, b"ready")
getattr(socket, how)(where)
print("there", flush=True)
for _ in range(int(count)):
    frames = socket.recv_multipart()
    if kind == "REP":
        socket.send(b"thanks")
    print(json.loads(frames[-1])["id"], flush=True)
"""


class Peer:
    """A ZeroMQ program of somebody else's, in a process of its own."""

    def __init__(self, kind: str, how: str, where: str, count: int = 1000) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PEER, kind, how, where, str(count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "there"

    def line(self) -> str:
        """What it prints next."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    async def hears(self) -> str:
        """The id of what it receives next."""
        return await asyncio.wait_for(asyncio.to_thread(self.line), SOON)

    def kill(self) -> None:
        """SIGKILL it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Makes peers, and leaves none behind."""
    made: list[Peer] = []

    def make(*arguments: Any) -> Peer:
        made.append(Peer(*arguments))
        return made[-1]

    yield make
    for each in made:
        with suppress(ProcessLookupError):
            each.kill()


@pytest.fixture
def where() -> str:
    """An endpoint that is free."""
    return f"tcp://127.0.0.1:{free_port()}"


async def test_what_is_published_reaches_those_who_listen(
    peer: Callable[..., Peer], where: str, tmp_path: Path
) -> None:
    first, second = parcels(tmp_path, 2)
    async with closing(delivery(ZeromqSettings(bind=where, topic="ready"))) as made:
        await made.deliver(first)  # Nobody listens: delivered once it is said.
        listener = peer("SUB", "connect", where)
        hearing = asyncio.create_task(listener.hears())
        while not hearing.done():  # A subscription takes its time, and nobody can see when.
            await made.deliver(second)
            await asyncio.wait([hearing], timeout=0.1)
        assert hearing.result() == second.id


async def test_what_is_pushed_waits_for_a_peer(
    peer: Callable[..., Peer], where: str, tmp_path: Path
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with closing(delivery(ZeromqSettings(bind=where, pattern="push"))) as made:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.deliver(parcel), 0.3)
        worker = peer("PULL", "connect", where)
        await asyncio.wait_for(made.deliver(parcel), SOON)
        assert await worker.hears() == parcel.id


async def test_an_asked_peer_that_is_killed_is_asked_again_when_it_is_back(
    peer: Callable[..., Peer], where: str, tmp_path: Path
) -> None:
    first, second = parcels(tmp_path, 2)
    settings = ZeromqSettings(connect=where, pattern="req")
    async with closing(delivery(settings)) as made:
        one = peer("REP", "bind", where)
        await asyncio.wait_for(made.deliver(first), SOON)
        assert await one.hears() == first.id
        one.kill()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(made.deliver(second), 0.5)
        other = peer("REP", "bind", where)
        await persist(made, second)
        assert await other.hears() == second.id


async def test_an_endpoint_that_is_taken_is_told(where: str, tmp_path: Path) -> None:
    (parcel,) = parcels(tmp_path, 1)
    async with closing(delivery(ZeromqSettings(bind=where))) as holder:
        await holder.deliver(parcel)
        async with closing(delivery(ZeromqSettings(bind=where))) as made:
            with pytest.raises(Undelivered, match="Address already in use") as caught:
                await made.deliver(parcel)
    assert caught.value.passing and caught.value.away


# -- packages

KINDS = [
    (AmqpSettings("amqp://localhost/"), "aio_pika", "amqp"),
    (RedisSettings("redis://localhost/", stream="x"), "redis", "redis"),
    (ZeromqSettings(bind="tcp://127.0.0.1:1"), "zmq", "zeromq"),
]


@pytest.mark.parametrize(("action", "package", "extra"), KINDS)
async def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    action: Any, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (parcel,) = parcels(tmp_path, 1)
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: Any) -> None:
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(name=package)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    made = delivery(action)
    with pytest.raises(Undelivered, match=rf"pip install 'roundtrip\[{extra}\]'"):
        await made.deliver(parcel)
    await made.aclose()


# -- through a whole agent


@needs_redis
async def test_an_agent_tells_a_stream_of_each_result(redis: Redis, tmp_path: Path) -> None:
    tell = {"redis": {"url": redis.url, "stream": "whole"}}
    with Api() as api, World(tmp_path, api.url, a={"deliver": {"tell": tell}}) as world:
        world.start()
        world.drop("one.csv", b"key\none\n")
        await asyncio.to_thread(world.result, "one.csv", SOON)
        async with redis_client.Redis.from_url(redis.url, decode_responses=True) as client:
            found = await client.xread({"whole": "0"}, block=int(SOON * 1000))
    assert "one.csv" in json.dumps(found)
