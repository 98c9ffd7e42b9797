"""Hosts in trouble: they ask to wait, they don't answer; who waits, how long, and who doesn't."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roundtrip.enrich.faults import PassingFault, Postponed, RecordFault, StepFault, Transient
from roundtrip.enrich.settings import Breaker, Retry
from tests.enrich.limits.virtual import (
    HOST,
    START,
    Script,
    calls,
    clock,
    governor,
    new_run,
    settled,
    step,
    virtually,
)

BUSY = PassingFault("429 Too Many Requests", f"step geo: {HOST} answered 429", 429)
DEAD = PassingFault("No connection", f"step geo: {HOST}: refused")
ILL = PassingFault("500 Internal Server Error", f"step geo: {HOST} answered 500", 500)


def later(seconds: float) -> Postponed:
    return Postponed(BUSY, seconds)


def always(error: Exception) -> Any:
    class Always(Script):
        async def __call__(self) -> str:
            self.outcomes = [error]
            return await super().__call__()

    return Always()


# -- Retry-After


def test_retry_after_holds_up_all_calls_to_the_host_and_uses_up_no_attempt() -> None:
    async def main() -> list[float]:
        gates = governor(concurrency=1)
        one = gates.gate("p", step(retry=Retry(attempts=1)), HOST)
        two = gates.gate("q", step("other"), HOST)
        asked, bystander = Script(later(30), later(7)), Script()
        run = new_run()
        first = calls(one, run, asked, 1)
        await settled()
        second = calls(two, new_run(), bystander, 1)
        await settled()
        assert [w.reason for w in run.waits.values()] == [f"{HOST} asks to wait"]
        assert [w.until for w in run.waits.values()] == [START + 30]
        assert gates.figures()[0].paused_until == START + 30
        assert await asyncio.gather(*first, *second) == ["answer", "answer"]
        assert run.waits == {}
        return asked.tried + bystander.tried

    assert virtually(main) == [0, 30, 37, 37]


def test_another_credential_does_not_wait() -> None:
    async def main() -> float:
        gates = governor()
        tasks = calls(gates.gate("p", step(), HOST, b"a"), new_run(), Script(later(30)), 1)
        await settled()
        await gates.gate("p", step(), HOST, b"b").call(Script(), new_run())
        took = clock()
        await asyncio.gather(*tasks)
        return took

    assert virtually(main) == 0


def test_a_retry_after_beyond_patience_fails_at_once_also_for_those_that_wait() -> None:
    async def main() -> list[Any]:
        gate = governor(concurrency=1).gate("p", step(), HOST)
        tasks = calls(gate, new_run(), Script(later(86400)), 3)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert clock() == 0
        with pytest.raises(PassingFault):
            await gate.call(Script(), new_run())
        await asyncio.sleep(86400 - 600)  # by now it is worth waiting for
        assert await gate.call(Script(), new_run()) == "answer"
        assert clock() == 86400
        return found

    for fault in virtually(main):
        assert isinstance(fault, PassingFault)
        assert "it asks to wait 86400 s, retry.patience is 3600 s" in fault.detail
        assert fault.status == 429


def test_patience_bounds_all_pauses_of_one_call_together() -> None:
    async def main() -> tuple[int, float]:
        gate = governor().gate("p", step(retry=Retry(patience=100)), HOST)
        attempt = Script(*[later(30)] * 9)
        with pytest.raises(PassingFault, match=r"asks to wait 120 s, retry\.patience is 100 s"):
            await gate.call(attempt, new_run())
        return len(attempt.tried), clock()

    assert virtually(main) == (4, 90)


def test_a_huge_file_on_a_host_that_always_says_later_ends_after_patience() -> None:
    async def main() -> tuple[float, int]:
        gate = governor().gate("p", step(concurrency=10, retry=Retry(patience=3600)), HOST)
        attempt = always(later(600))
        await asyncio.gather(*calls(gate, new_run(), attempt, 10_000), return_exceptions=True)
        return clock(), len(attempt.tried)

    took, tried = virtually(main)
    assert took <= 3600
    assert tried <= 70


def test_a_host_that_answers_between_its_pauses_tries_nobodys_patience() -> None:
    async def main() -> list[Any]:
        settings = step(concurrency=1, retry=Retry(patience=100))
        gate = governor().gate("p", settings, HOST)
        tasks, run = [], new_run()
        for _ in range(10):
            tasks += calls(gate, run, Script(later(30)), 1)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert virtually(main) == ["answer"] * 10


def test_a_postponed_call_goes_before_the_other_calls_of_its_payload() -> None:
    async def main() -> list[float]:
        gate = governor().gate("p", step(concurrency=1), HOST)
        asked = Script(later(5))
        tasks = calls(gate, run := new_run(), asked, 1)
        tasks += calls(gate, run, Script(takes=1), 20)
        await asyncio.gather(*tasks)
        return asked.tried

    assert virtually(main) == [0, 5]


def test_later_that_means_at_once_is_no_endless_loop() -> None:
    async def main() -> tuple[float, int]:
        gate = governor().gate("p", step(retry=Retry(patience=100, max_delay=20)), HOST)
        attempt = always(later(0))
        with pytest.raises(PassingFault):
            await gate.call(attempt, new_run())
        return clock(), len(attempt.tried)

    took, tried = virtually(main)
    assert tried < 20
    assert took <= 100


def test_a_fallback_does_not_wait_for_a_pause_but_for_a_brief_one() -> None:
    async def main() -> list[Any]:
        gate = governor(concurrency=1).gate("p", step(fallback="other"), HOST)
        assert await gate.call(Script(later(1)), new_run()) == "answer"
        assert clock() == 1
        tasks = calls(gate, new_run(), Script(later(2)), 2)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert clock() == 1
        return found

    for fault in virtually(main):
        assert isinstance(fault, PassingFault)
        assert "asks to wait 2 s, and the step has a fallback" in fault.detail


# -- circuit breaker

FAST = Retry(attempts=1000, max_delay=0.01)


def test_after_failures_in_a_row_one_probe_at_a_time_tries_the_host() -> None:
    async def main() -> list[float]:
        breaker = Breaker(failures=5, pause=10, max_pause=40)
        gates = governor(breaker=breaker, adaptive=False)
        gate = gates.gate("p", step(concurrency=50, retry=FAST), HOST)
        run = new_run()
        attempt = Script(*[Transient(DEAD)] * (54 + 4), takes=0.5)
        tasks = calls(gate, run, attempt, 100)
        await asyncio.sleep(0.6)
        assert gates.figures()[0].breaker == "open"
        assert gates.figures()[0].paused_until == START + 10.5
        (wait,) = run.waits.values()
        assert wait.until == START + 10.5
        assert HOST in wait.reason
        assert await asyncio.gather(*tasks) == ["answer"] * 100
        assert run.waits == {}
        assert gates.figures()[0].breaker == "closed"
        return attempt.tried

    tried = virtually(main)
    # four more begin before the fifth failure is known
    assert tried[:54] == [0.0] * 50 + [0.5] * 4
    # pauses of 10, 20, 40, 40, 40 seconds; the fifth probe succeeds
    assert [round(at, 1) for at in tried[54:59]] == [10.5, 31, 71.5, 112, 152.5]
    assert {round(at, 1) for at in tried[59:]} == {153, 153.5}


def test_a_call_held_back_by_the_breaker_uses_up_no_attempt() -> None:
    async def main() -> int:
        breaker = Breaker(failures=2, pause=10, max_pause=10)
        gate = governor(breaker=breaker, adaptive=False).gate(
            "p", step(concurrency=1, retry=Retry(attempts=3, max_delay=0.01)), HOST
        )
        bystander = Script()
        tasks = calls(gate, new_run("a"), Script(*[Transient(DEAD)] * 2), 1)
        tasks += calls(gate, new_run("b"), bystander, 1)
        assert await asyncio.gather(*tasks) == ["answer", "answer"]
        return len(bystander.tried)

    assert virtually(main) == 1


def test_a_huge_file_on_a_dead_host_ends_after_patience() -> None:
    async def main() -> tuple[float, int, list[Any]]:
        gate = governor().gate("p", step(retry=Retry(patience=600)), HOST)
        attempt = always(Transient(DEAD))
        tasks = calls(gate, new_run(), attempt, 10_000)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return clock(), len(attempt.tried), found

    took, tried, found = virtually(main)
    assert 600 <= took <= 1000  # the last probe and its attempts included
    assert tried < 200
    assert all(isinstance(fault, PassingFault) for fault in found)
    kinds = {fault.detail.split("; ")[-1] for fault in found}
    assert "not tried, retry.patience is 600 s" in kinds


def test_a_host_that_comes_back_after_patience_is_noticed() -> None:
    async def main() -> str:
        gate = governor(breaker=Breaker(failures=1, pause=10, max_pause=300)).gate(
            "p", step(retry=Retry(attempts=1, patience=60)), HOST
        )
        with pytest.raises(PassingFault):
            await gate.call(always(Transient(DEAD)), new_run())
        await asyncio.sleep(5000)
        return await gate.call(Script(), new_run())

    assert virtually(main) == "answer"


def test_a_step_with_a_fallback_does_not_wait_for_an_open_breaker() -> None:
    async def main() -> str:
        gates = governor(breaker=Breaker(failures=2, pause=10))
        gate = gates.gate("p", step(retry=Retry(attempts=2, max_delay=0.01), fallback="b"), HOST)
        with pytest.raises(PassingFault, match="given up after 2 attempts"):
            await gate.call(always(Transient(DEAD)), new_run())
        before = clock()
        with pytest.raises(PassingFault, match="not tried, the step has a fallback"):
            await gate.call(Script(), new_run())
        assert clock() == before
        await asyncio.sleep(11)
        return await gate.call(Script(), new_run())  # the probe

    assert virtually(main) == "answer"


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (Transient(DEAD), True),
        (Transient(ILL), True),
        (RecordFault("500 Internal Server Error", "", 500), True),
        (Transient(BUSY), False),
        (RecordFault("404 Not Found", "", 404), False),
        (StepFault("401 Unauthorized", "", 401), False),
        (RecordFault("Unusable answer", ""), False),
        (OSError(28, "No space left on device"), False),
    ],
    ids=repr,
)
def test_only_no_answer_and_5xx_open_the_breaker(error: Exception, opens: bool) -> None:
    async def main() -> str:
        gates = governor(breaker=Breaker(failures=3))
        gate = gates.gate("p", step(retry=Retry(attempts=1)), HOST)
        for _ in range(5):
            tasks = calls(gate, new_run(), always(error), 1)
            await settled()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return gates.figures()[0].breaker

    assert (virtually(main) == "open") is opens


@pytest.mark.parametrize("end", ["cancelled", "our own trouble"])
def test_a_probe_that_says_nothing_makes_room_for_the_next(end: str) -> None:
    async def main() -> tuple[str, str]:
        gates = governor(breaker=Breaker(failures=1, pause=10))
        gate = gates.gate("p", step(retry=Retry(attempts=1)), HOST)
        with pytest.raises(PassingFault):
            await gate.call(always(Transient(DEAD)), new_run())
        await asyncio.sleep(11)
        outcomes = [OSError(28, "full")] if end != "cancelled" else []
        (probe,) = calls(gate, new_run(), Script(*outcomes, takes=5), 1)
        await settled()
        (waiting,) = calls(gate, new_run(), Script(), 1)
        await settled()
        assert gates.figures()[0].breaker == "half-open"
        assert not waiting.done()
        if end == "cancelled":
            probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        return await waiting, gates.figures()[0].breaker

    assert virtually(main) == ("answer", "closed")


def test_no_breaker_where_it_is_turned_off() -> None:
    async def main() -> str:
        gates = governor(breaker=Breaker(failures=0))
        gate = gates.gate("p", step(retry=Retry(attempts=100, max_delay=0.1)), HOST)
        with pytest.raises(PassingFault, match="given up after 100 attempts"):
            await gate.call(always(Transient(DEAD)), new_run())
        return gates.figures()[0].breaker

    assert virtually(main) == "closed"


def test_a_pause_between_attempts_holds_no_slot() -> None:
    async def main() -> float:
        gate = governor().gate("p", step(concurrency=1), HOST)
        tasks = calls(gate, new_run(), Script(*[Transient(BUSY)] * 3), 1)
        await settled()
        other = Script()
        await gate.call(other, new_run())
        await asyncio.gather(*tasks)
        return other.tried[0]

    assert virtually(main) == 0
