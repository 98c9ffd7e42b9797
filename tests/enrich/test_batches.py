"""Calls go together: when a batch goes, what its failure means, and when it is ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roundtrip.enrich.batches import Batches
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Batch
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.scripted import ScriptedStep, settled

FOR_EVER = 3600.0


@pytest.fixture
def batches() -> Batches:
    return Batches(Run("X", MemoryStore()))


def step_of(size: int, linger: float = FOR_EVER, **more: Any) -> ScriptedStep:
    return ScriptedStep(batch=Batch(size, linger=linger), **more)


async def begun(batches: Batches, step: ScriptedStep, keys: str) -> list[asyncio.Task[Answered]]:
    tasks = [asyncio.create_task(batches.answer(step, step.call(key))) for key in keys]
    await settled()
    return tasks


async def test_a_full_batch_goes_at_once_and_each_call_gets_its_own_answer(
    batches: Batches,
) -> None:
    step = step_of(3)
    tasks = await begun(batches, step, "abcdef")
    assert [(await task).value for task in tasks] == list("abcdef")
    assert step.together_made == [["a", "b", "c"], ["d", "e", "f"]]


async def test_a_batch_that_is_not_full_goes_after_a_while(batches: Batches) -> None:
    step = step_of(100, linger=0.01)
    tasks = await begun(batches, step, "ab")
    assert step.together_made == []
    assert [(await task).value for task in tasks] == ["a", "b"]
    assert step.together_made == [["a", "b"]]


async def test_a_full_batch_takes_its_time_with_it(batches: Batches) -> None:
    step = step_of(2, linger=0.02)
    await asyncio.gather(*await begun(batches, step, "ab"))
    (late,) = await begun(batches, step, "c")
    assert step.together_made == [["a", "b"]]
    await late
    assert step.together_made == [["a", "b"], ["c"]]


async def test_a_failed_batch_fails_its_records_and_no_others(batches: Batches) -> None:
    def act(names: str) -> None:
        if names == "a,b":
            raise RecordFault("Bad", "x")

    step = step_of(2, act=act)
    tasks = await begun(batches, step, "abcd")
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [RecordFault, RecordFault, Answered, Answered]


async def test_a_fault_among_the_answers_is_one_records(batches: Batches) -> None:
    step = step_of(2, act=lambda names: [RecordFault("Bad", "x"), Answered(1)])
    found = await asyncio.gather(*await begun(batches, step, "ab"), return_exceptions=True)
    assert [type(each) for each in found] == [RecordFault, Answered]


@pytest.mark.parametrize(
    "act", [lambda names: [Answered(1)], lambda names: 1 / 0, lambda names: [Answered(1)] * 3]
)
async def test_nobody_waits_for_ever_for_a_batch_that_breaks(batches: Batches, act: Any) -> None:
    tasks = await begun(batches, step_of(2, act=act), "ab")
    async with asyncio.timeout(5):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[-1], ValueError | ZeroDivisionError) or len(found) == 2


async def test_who_waits_no_more_is_left_out_of_a_batch_that_has_not_gone(
    batches: Batches,
) -> None:
    step = step_of(3)
    gone, *_ = await begun(batches, step, "ab")
    gone.cancel()
    await settled()
    (last,) = await begun(batches, step, "c")
    await last
    assert step.together_made == [["b", "c"]]


async def test_a_batch_that_nobody_wants_does_not_go(batches: Batches) -> None:
    step = step_of(100, linger=0.01)
    tasks = await begun(batches, step, "ab")
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0.03)  # the time after which it would have gone
    assert step.together_made == []


async def test_a_batch_under_way_ends_with_the_last_who_waits_for_it(batches: Batches) -> None:
    step = step_of(2)
    step.held = asyncio.Event()
    one, other = await begun(batches, step, "ab")
    one.cancel()
    await settled()
    assert step.ended == []
    other.cancel()
    await asyncio.gather(one, other, return_exceptions=True)
    assert step.ended == ["a", "b"]


async def test_the_one_who_stays_gets_its_answer(batches: Batches) -> None:
    step = step_of(2)
    step.held = asyncio.Event()
    going, staying = await begun(batches, step, "ab")
    going.cancel()
    await settled()
    step.held.set()
    assert (await staying).value == "b"
