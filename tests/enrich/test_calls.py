"""Each call once: among records of one payload, among payloads, and after a restart."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from roundtrip.enrich.calls import Calls, Flights
from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.scripted import ScriptedStep, settled


class Process:
    """What payloads of one process share."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.flights: Flights = {}

    def calls(self, exchange: str) -> Calls:
        return Calls("p", Run(exchange, self.store), self.flights)

    def recorded(self, exchange: str, key: str) -> bytes | None:
        return self.store.ledger.get(exchange, key.encode())


@pytest.fixture
def process() -> Process:
    return Process()


def raising(*faults: Exception) -> Any:
    """Raises them one after the other, then answers."""
    left = list(faults)

    def act(name: str) -> str:
        if left:
            raise left.pop(0)
        return name

    return act


async def begun(calls: Calls, step: ScriptedStep, key: str) -> asyncio.Task[object]:
    """A task that asks, as far as it gets."""
    task = asyncio.create_task(calls.answer(step, step.call(key)))
    await settled()
    return task


async def cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)


async def test_a_key_asked_for_a_thousand_times_at_once_is_one_call(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    asked = [calls.answer(step, step.call("a")) for _ in range(1000)]
    assert await asyncio.gather(*asked) == ["A"] * 1000
    assert step.made == ["a"]
    assert process.flights == {}


async def test_an_answer_is_in_the_ledger_before_anybody_has_it(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    asked = asyncio.create_task(calls.answer(step, step.call("a")))
    asked.add_done_callback(lambda _: found.append(process.recorded("X", "a")))
    found: list[bytes | None] = []
    await asked
    await settled()
    assert found == [b'="A"']


async def test_twenty_payloads_at_once_share_a_call_and_each_records_it(process: Process) -> None:
    step = ScriptedStep()
    payloads = [process.calls(f"X{number}") for number in range(20)]
    asked = [calls.answer(step, step.call("a")) for calls in payloads for _ in range(5)]
    assert await asyncio.gather(*asked) == ["A"] * 100
    assert step.made == ["a"]
    assert all(process.recorded(f"X{number}", "a") == b'="A"' for number in range(20))


async def test_an_answer_is_recorded_once_however_many_wait_for_it(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    put, recorded = process.store.ledger.put, []
    process.store.ledger.put = lambda *a: (recorded.append(a), put(*a))[1]  # type: ignore
    await asyncio.gather(*(calls.answer(step, step.call("a")) for _ in range(100)))
    assert len(recorded) == 1


@pytest.mark.parametrize("fault", [RecordFault("Bad", "x", 404), PassingFault("Away", "y")])
async def test_a_failed_call_fails_all_who_wait_and_is_not_made_again_in_this_payload(
    process: Process, fault: RecordFault
) -> None:
    step, one, other = ScriptedStep(raising(fault)), process.calls("X"), process.calls("Y")
    asked = [calls.answer(step, step.call("a")) for calls in (one, other) for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [(type(error), str(error)) for error in found] == [(type(fault), str(fault))] * 6
    with pytest.raises(type(fault)):
        await other.answer(step, step.call("a"))
    assert step.made == ["a"]


async def test_what_may_pass_is_in_nobodys_ledger(process: Process) -> None:
    step = ScriptedStep(raising(PassingFault("No connection", "x")))
    payloads = [process.calls("X"), process.calls("X"), process.calls("Y")]
    asked = [calls.answer(step, step.call("a")) for calls in payloads]
    await asyncio.gather(*asked, return_exceptions=True)
    assert (process.recorded("X", "a"), process.recorded("Y", "a")) == (None, None)
    assert await process.calls("X").answer(step, step.call("a")) == "a"


async def test_a_refused_credential_ends_the_step_for_one_payload_and_others_see_for_themselves(
    process: Process,
) -> None:
    step = ScriptedStep(raising(StepFault("401", "x"), StepFault("401", "x")))
    one, other = process.calls("X"), process.calls("Y")
    asked = [calls.answer(step, step.call("a")) for calls in (one, one, other, other)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [StepFault] * 4
    assert step.made == ["a", "a"]
    with pytest.raises(StepFault):
        await one.answer(step, step.call("b"))
    assert await process.calls("Z").answer(step, step.call("b")) == "b"


async def test_a_resumed_payload_finds_what_it_paid_for(process: Process) -> None:
    step = ScriptedStep(raising(RecordFault("Bad", "x")))
    before = process.calls("X")
    await asyncio.gather(
        *(before.answer(step, step.call(key)) for key in "ab"), return_exceptions=True
    )
    resumed = process.calls("X")
    assert await resumed.answer(step, step.call("b")) == "b"
    with pytest.raises(RecordFault, match="Bad: x"):
        await resumed.answer(step, step.call("a"))
    assert step.made == ["a", "b"]


@pytest.mark.parametrize("goes", ["maker", "other"])
async def test_a_call_goes_on_for_those_who_still_wait(process: Process, goes: str) -> None:
    step = ScriptedStep()
    step.held = asyncio.Event()
    one, two = process.calls("X"), process.calls("Y")
    maker, other = await begun(one, step, "a"), await begun(two, step, "a")
    going, staying, who = (maker, other, one) if goes == "maker" else (other, maker, two)
    await cancelled(going)
    who.close()
    process.store.ledger.forget("X" if goes == "maker" else "Y")
    step.held.set()
    assert await staying == "A"
    assert step.made == ["a"]
    assert process.store.ledger.scopes() == {"Y" if goes == "maker" else "X"}


async def test_a_call_that_nobody_waits_for_is_ended_before_the_payload_is(
    process: Process,
) -> None:
    step = ScriptedStep()
    step.held = asyncio.Event()
    one, two = process.calls("X"), process.calls("Y")
    tasks = [await begun(calls, step, "a") for calls in (one, two, two)]
    await cancelled(*tasks)
    assert (step.made, step.ended) == (["a"], ["a"])
    assert process.flights == {}


async def test_a_call_that_hardly_began_leaves_nothing(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    task = asyncio.create_task(calls.answer(step, step.call("a")))
    await asyncio.sleep(0)  # the asker waits, and its call's task has had no turn yet
    await cancelled(task)
    assert step.ended == step.made
    assert process.flights == {}


async def test_who_comes_while_a_call_is_being_ended_makes_it_anew(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    step.held = asyncio.Event()
    first = await begun(calls, step, "a")
    first.cancel()
    second = asyncio.create_task(process.calls("Y").answer(step, step.call("a")))
    await settled()
    step.held.set()
    assert await second == "A"
    assert first.cancelled()
    assert process.flights == {}


async def test_a_call_that_was_sent_gets_a_little_time_to_be_recorded(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")
    step.held, step.sent_at_once = asyncio.Event(), True
    task = await begun(calls, step, "a")
    task.cancel()
    await settled()
    step.held.set()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert process.recorded("X", "a") == b'="A"'


async def test_but_no_more_than_a_little(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roundtrip.enrich.run.PARTING", 0.01)
    step, calls = ScriptedStep(), process.calls("X")
    step.held, step.sent_at_once = asyncio.Event(), True
    await cancelled(await begun(calls, step, "a"))
    assert process.recorded("X", "a") is None


async def test_who_joins_a_call_that_is_given_its_time_keeps_it_going(process: Process) -> None:
    step = ScriptedStep()
    step.held, step.sent_at_once = asyncio.Event(), True
    first = await begun(process.calls("X"), step, "a")
    first.cancel()
    await settled()
    second = await begun(process.calls("Y"), step, "a")
    step.held.set()
    assert await second == "A"
    await asyncio.gather(first, return_exceptions=True)
    assert step.made == ["a"]


async def test_nothing_is_paid_for_that_can_not_be_written_down(process: Process) -> None:
    step, calls = ScriptedStep(), process.calls("X")

    async def full() -> None:
        raise OSError(errno.ENOSPC, "no space")

    process.store.room = full  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            await calls.answer(step, step.call("a"))
    assert step.made == []
    assert process.flights == {}


async def test_trouble_of_this_host_is_told_to_each_and_recorded_nowhere(process: Process) -> None:
    step = ScriptedStep(raising(OSError("no file left"), OSError("no file left")))
    one, two = process.calls("X"), process.calls("Y")
    asked = [calls.answer(step, step.call("a")) for calls in (one, two)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [OSError, OSError]
    assert process.store.ledger.scopes() == set()


async def test_an_answer_too_large_for_memory_is_found_in_the_ledger(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roundtrip.enrich.calls.OWN_BYTES", 10_000)
    step, calls = ScriptedStep(lambda name: name * 5000), process.calls("X")
    other = process.calls("Y")
    asked = [each.answer(step, step.call("a")) for each in (calls, calls, other, other)]
    assert await asyncio.gather(*asked) == ["a" * 5000] * 4
    assert await calls.answer(step, step.call("a")) == "a" * 5000
    assert step.made == ["a"]


async def test_a_cached_answer_is_fresh_for_its_time_then_confirmed_or_replaced() -> None:
    now = [1000.0]
    process = Process()
    process.store = MemoryStore(lambda: now[0])
    answers: list[Answered] = [
        Answered("one", etag='"1"'),
        Answered(None, etag='"1"', unchanged=True),
        Answered("two", etag='"2"'),
    ]
    step = ScriptedStep(lambda name: answers.pop(0), cache=60.0)

    async def ask(exchange: str) -> object:
        return await process.calls(exchange).answer(step, step.call("a"))

    assert [await ask("1"), await ask("2")] == ["one", "one"]
    assert len(step.made) == 1
    now[0] += 61
    assert [await ask("3"), await ask("4")] == ["one", "one"]
    assert len(step.made) == 2
    now[0] += 61
    assert [await ask("5"), await ask("6")] == ["two", "two"]
    assert len(step.made) == 3


async def test_an_answer_that_forbids_it_is_not_kept_for_others(process: Process) -> None:
    step = ScriptedStep(lambda name: Answered("secret", keep=False), cache=60.0)
    first = process.calls("X")
    assert await first.answer(step, step.call("a")) == "secret"
    assert await first.answer(step, step.call("a")) == "secret"
    assert len(step.made) == 1
    assert process.store.cache.get(b"a") is None
    await process.calls("Y").answer(step, step.call("a"))
    assert len(step.made) == 2


async def test_a_fault_is_never_cached(process: Process) -> None:
    step = ScriptedStep(raising(RecordFault("Bad", "x")), cache=60.0)
    with pytest.raises(RecordFault):
        await process.calls("X").answer(step, step.call("a"))
    assert await process.calls("Y").answer(step, step.call("a")) == "a"
