"""`Client` and `AsyncClient` against running agents."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

import roundtrip
from roundtrip.client import EnrichmentFailed
from roundtrip.errors import InputError, StillWaiting
from roundtrip.protocol.markers import Outcome
from tests.e2e.api import Api
from tests.e2e.payloads import sample
from tests.e2e.world import World, wait_until


def test_client_brings_the_result(running: World) -> None:
    asked = sample(Random(1), "orders.csv", 900)
    path = running.folder / asked.name
    path.write_bytes(asked.content)
    result = roundtrip.Client(running.a.config).enrich(path, timeout=20)
    assert result.outcome is Outcome.ENRICHED
    assert result.path == running.inbox / "orders.csv"
    assert result.read() == asked.result


async def test_many_callers_each_get_their_own_result(running: World) -> None:
    client = roundtrip.AsyncClient(running.a.config)
    samples = [sample(Random(number), "same.jsonl", 500) for number in range(40)]

    async def ask(number: int) -> bytes:
        path = running.folder / str(number) / "same.jsonl"
        path.parent.mkdir()
        path.write_bytes(samples[number].content)
        return (await client.enrich(path, timeout=30)).read()

    found = await asyncio.gather(*(ask(number) for number in range(40)))
    assert found == [asked.result for asked in samples]


async def test_an_exchange_can_be_submitted_now_and_waited_for_later(running: World) -> None:
    client = roundtrip.AsyncClient(running.a.config)
    path = running.folder / "x.raw"
    path.write_bytes(b"x")
    exchange = await client.submit(path)
    running.result("x.raw")
    states: list[str] = []
    result = await client.wait(exchange, timeout=10, on_state=states.append)
    assert result.read() == b"x"
    client.forget(exchange)


async def test_waiting_is_told_of_each_state(world: World) -> None:
    client = roundtrip.AsyncClient(world.a.config)
    path = world.folder / "x.raw"
    path.write_bytes(b"x")
    exchange = await client.submit(path)
    assert await client.stage(exchange) == "submitted"
    world.a.start()
    requested = world.unenriched / f"{exchange}.done"
    wait_until(requested.exists, "it is published")
    assert await client.stage(exchange) == "requested"
    world.b.start()
    assert (await client.wait(exchange, timeout=10)).read() == b"x"


def test_time_runs_out_but_the_exchange_goes_on(running: World, api: Api) -> None:
    api.hold()
    path = running.folder / "slow.raw"
    path.write_bytes(b"slow")
    client = roundtrip.Client(running.a.config)
    with pytest.raises(StillWaiting, match=r"slow\.raw"):
        client.enrich(path, timeout=0.2)
    api.release()
    assert running.result("slow.raw") == b"slow"


def test_a_failed_answer_is_an_exception_with_the_problem(running: World) -> None:
    path = running.folder / "broken.jsonl"
    path.write_bytes(b"\xff{")
    with pytest.raises(EnrichmentFailed) as caught:
        roundtrip.Client(running.a.config).enrich(path, pipeline="nonsense", timeout=20)
    assert "nonsense" in caught.value.problem.detail
    assert caught.value.result.path.parent == running.failed


async def test_waiting_for_a_failed_answer_raises_as_enrich_does(running: World) -> None:
    path = running.folder / "broken.jsonl"
    path.write_bytes(b"\xff{")
    client = roundtrip.AsyncClient(running.a.config)
    exchange = await client.submit(path, pipeline="nonsense")
    for _ in range(2):
        with pytest.raises(EnrichmentFailed) as caught:
            await client.wait(exchange, timeout=20)
        assert "nonsense" in caught.value.problem.detail
    caught.value.result.path.unlink()
    with pytest.raises(EnrichmentFailed, match="has been taken away"):
        await client.wait(exchange)
    client.forget(exchange)
    with pytest.raises(InputError):
        await client.wait(exchange)


@pytest.mark.parametrize("name", ["no-such", "01ARZ3NDEKTSV4RRFFQ69G5FAV-x", "../x", ""])
def test_nobody_waits_for_what_nobody_has_submitted(name: str, world: World) -> None:
    with pytest.raises(InputError, match="nothing of this name was sent here"):
        roundtrip.Client(world.a.config).wait(name)


async def test_whoever_waits_learns_that_somebody_else_has_picked_it_up(
    running: World, api: Api
) -> None:
    api.hold()
    client = roundtrip.AsyncClient(running.a.config)
    path = running.folder / "x.raw"
    path.write_bytes(b"x")
    exchange = await client.submit(path)
    waiting = asyncio.create_task(client.wait(exchange))
    await asyncio.to_thread(wait_until, lambda: api.waiting, "B is asking")
    running.a.kill()
    for folder in ("tickets", "pending"):
        for found in running.a.folder(f"state/{folder}").iterdir():
            found.unlink()
    api.release()
    with pytest.raises(InputError):
        await asyncio.wait_for(waiting, 15)


def test_what_is_not_there_can_t_be_sent(world: World) -> None:
    with pytest.raises(InputError):
        roundtrip.Client(world.a.config).enrich(world.folder / "nothing")
    assert not world.leftovers()
