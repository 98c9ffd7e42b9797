"""What every broker adapter promises, on real servers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from roundtrip.queue.port import Broker, BrokerAway, Delivery
from tests.queue.conftest import Ground, eventually

SOON = 10.0
"""Seconds within which a message comes."""


async def taken(broker: Broker, seconds: float = SOON) -> Delivery:
    """The next message."""
    return await asyncio.wait_for(broker.take(), seconds)


async def nothing_comes(broker: Broker, seconds: float = 0.3) -> None:
    """No message comes."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(broker.take(), seconds)


async def consumer(ground: Ground, most: int = 10) -> Broker:
    """A connected broker that takes messages."""
    broker = await ground.connected()
    await broker.consume(most)
    return broker


async def test_what_is_published_is_taken_in_order(ground: Ground) -> None:
    agent, worker = await ground.connected(), await consumer(ground)
    for number in range(20):
        await agent.publish(f"job-{number}")
    for number in range(20):
        found = await taken(worker)
        assert (found.job, found.again) == (f"job-{number}", False)
        await worker.ack(found)
    await nothing_comes(worker)


async def test_a_message_waits_for_its_worker(ground: Ground) -> None:
    await (await ground.connected()).publish("early")
    assert (await taken(await consumer(ground))).job == "early"


async def test_no_more_is_taken_than_was_asked_for(ground: Ground) -> None:
    worker = await consumer(ground, most=2)
    for job in ("one", "two", "three"):
        await worker.publish(job)
    first, _ = await taken(worker), await taken(worker)
    await nothing_comes(worker)
    await worker.ack(first)
    assert (await taken(worker)).job == "three"


async def test_each_message_goes_to_one_worker(ground: Ground) -> None:
    one, two = await consumer(ground, most=3), await consumer(ground, most=3)
    for number in range(6):
        await one.publish(str(number))
    found = [await taken(each) for each in (one, two) for _ in range(3)]
    assert sorted(each.job for each in found) == list("012345")


async def test_what_a_worker_leaves_goes_to_another_and_says_so(ground: Ground) -> None:
    one, two = await consumer(ground), await consumer(ground)
    await one.publish("job")
    first, other = (one, two)
    try:
        found = await taken(one, 2.0)
    except TimeoutError:
        first, other = two, one
        found = await taken(two)
    assert not found.again
    await first.aclose()
    again = await taken(other)
    assert (again.job, again.again) == ("job", True)


async def test_what_is_renewed_stays_with_its_worker(ground: Ground) -> None:
    one = await consumer(ground)
    await one.publish("long")
    await taken(one)
    two = await consumer(ground)
    for _ in range(8):
        await nothing_comes(two, 0.25)
        await one.renew()


async def test_a_silent_taker_loses_its_message(ground: Ground) -> None:
    if ground.kind not in ("redis", "nats"):
        pytest.skip("a broker that sees the connection go needs no silence")
    one = await consumer(ground)
    await one.publish("job")
    await taken(one)
    two = await consumer(ground)
    assert (await taken(two)).again


async def test_a_buried_message_is_a_dead_letter(ground: Ground) -> None:
    worker = await consumer(ground)
    await worker.publish("poison")
    await worker.bury(await taken(worker))

    async def is_dead() -> bool:
        return (await worker.depth())[::2] == (0, 1)

    await eventually(is_dead)
    await nothing_comes(worker)


async def test_depth_counts_what_waits(ground: Ground) -> None:
    agent = await ground.connected()
    assert (await agent.depth()).waiting == 0
    for number in range(3):
        await agent.publish(str(number))

    async def three_wait() -> bool:
        return (await agent.depth()).waiting == 3

    await eventually(three_wait)
    worker = await consumer(ground)
    for _ in range(3):
        await worker.ack(await taken(worker))

    async def none_waits() -> bool:
        return (await agent.depth()).waiting == 0

    await eventually(none_waits)


async def test_who_only_looks_makes_nothing(ground: Ground) -> None:
    looker = ground.broker()
    await looker.connect(make=False)
    if ground.kind != "memory":
        with pytest.raises(BrokerAway):
            await looker.depth()
    await (await ground.connected()).publish("job")
    await looker.connect(make=False)

    async def one_waits() -> bool:
        return (await looker.depth()).waiting == 1

    await eventually(one_waits)


async def test_hints_reach_whoever_listens(ground: Ground) -> None:
    agent, worker = await ground.connected(), await ground.connected()
    await worker.tell(b"nobody listens yet")
    await agent.listen()
    for word in (b"one", b'{"two": 2}'):
        await worker.tell(word)
    heard = [await asyncio.wait_for(agent.hear(), SOON) for _ in range(2)]
    assert heard == [b"one", b'{"two": 2}']


async def test_after_the_broker_died_everything_is_there_again(ground: Ground) -> None:
    agent, worker = await ground.connected(), await consumer(ground, most=1)
    await agent.listen()
    await agent.publish("taken")
    await agent.publish("waiting")
    await taken(worker)
    taking, hearing = asyncio.create_task(worker.take()), asyncio.create_task(agent.hear())
    await asyncio.sleep(0)
    await ground.kill()
    for waiting in (taking, hearing):
        with pytest.raises(BrokerAway):
            await asyncio.wait_for(waiting, SOON)
    with pytest.raises(BrokerAway):
        await agent.publish("nowhere")
    with pytest.raises(BrokerAway):
        await agent.connect()
    await ground.revive()
    await agent.connect()
    await worker.connect()
    await worker.consume(5)
    found = {(each.job, each.again) for each in [await taken(worker), await taken(worker)]}
    assert found == {("taken", True), ("waiting", False)}


async def test_after_one_failure_everything_fails_until_it_connects_again(ground: Ground) -> None:
    worker = await consumer(ground, most=1)
    await worker.publish("one")
    await worker.publish("two")
    await taken(worker)
    waiting = asyncio.create_task(worker.take())
    await asyncio.sleep(0)
    await ground.kill()
    with pytest.raises(BrokerAway):
        await worker.publish("lost")
    await ground.revive()
    with pytest.raises(BrokerAway):
        await asyncio.wait_for(waiting, SOON)
    for call in (worker.publish("three"), worker.depth()):
        with pytest.raises(BrokerAway):
            await call
    await worker.connect()
    await worker.consume(3)
    found = [await taken(worker), await taken(worker)]
    assert sorted(each.job for each in found) == ["one", "two"]


async def test_a_message_of_a_lost_connection_can_not_harm_the_next(ground: Ground) -> None:
    worker = await consumer(ground)
    await worker.publish("job")
    old = await taken(worker)
    await worker.connect()
    await worker.consume(1)
    again = await taken(worker)
    with contextlib.suppress(BrokerAway):  # Or it is settled by that: brokers differ.
        await worker.ack(old)
    await worker.ack(again)
    await worker.publish("next")
    found = await taken(worker)
    assert found.job == "next"


async def test_without_a_connection_everything_says_so(ground: Ground) -> None:
    broker = ground.broker()
    for call in (broker.publish("x"), broker.depth(), broker.tell(b""), broker.consume(1)):
        with pytest.raises(BrokerAway):
            await call
