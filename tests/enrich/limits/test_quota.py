"""Quotas: by UTC's calendar, never exceeded, also not by a process that is killed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.faults import PassingFault
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.limits.quota import current
from roundtrip.enrich.run import Wait
from roundtrip.enrich.settings import HostSettings, Quota, Rate
from roundtrip.enrich.store.memory import MemoryStore
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
    wall,
)


@pytest.mark.parametrize(
    ("now", "unit", "name", "end"),
    [
        ("2025-12-31T23:59:30", "minute", "2025-12-31T23:59", "2026-01-01T00:00:00"),
        ("2025-12-31T23:59:30", "day", "2025-12-31", "2026-01-01T00:00:00"),
        ("2025-12-31T23:59:30", "month", "2025-12", "2026-01-01T00:00:00"),
        ("2026-01-01T00:00:00", "minute", "2026-01-01T00:00", "2026-01-01T00:01:00"),
        ("2026-01-01T00:00:00", "day", "2026-01-01", "2026-01-02T00:00:00"),
        ("2026-01-01T00:00:00", "month", "2026-01", "2026-02-01T00:00:00"),
        ("2028-02-29T12:00:00", "month", "2028-02", "2028-03-01T00:00:00"),
    ],
)
def test_windows_are_those_of_utc_calendar(now: str, unit: str, name: str, end: str) -> None:
    def unix(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert current(unit, unix(now)) == (name, unix(end))


@given(st.floats(0, 4e9), st.sampled_from(["minute", "day", "month"]))
def test_every_moment_is_in_a_window_that_has_a_next_one(now: float, unit: str) -> None:
    name, end = current(unit, now)
    assert end > now
    assert current(unit, end)[0] > name


@pytest.mark.parametrize(
    ("quota", "ends"),
    [
        (Quota(minute=3), [60, 120, 180]),
        (Quota(day=3), [60, 86460, 2 * 86400 + 60]),
        (Quota(month=3), [60, 60 + 31 * 86400, 60 + 59 * 86400]),
        (Quota(minute=2, day=3), [60, 120, 86460, 86520, 172860]),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["step", "host"])
def test_calls_beyond_a_quota_go_in_the_next_window(
    quota: Quota, ends: list[float], where: str
) -> None:
    """It is 23:59:00 on New Year's Eve at first: all three windows end after 60 seconds."""

    async def main() -> list[float]:
        attempt = Script()
        gates = governor(quota=quota if where == "host" else Quota())
        gate = gates.gate("p", step(quota=quota if where == "step" else Quota()), HOST)
        await asyncio.gather(*calls(gate, new_run(), attempt, 10))
        return attempt.tried

    tried = virtually(main)
    assert sorted({round(at, 1) for at in tried})[1:] == ends
    first = quota.minute or 3
    assert [round(at, 1) for at in tried[: first + 1]] == [0.0] * first + [60.0]


def test_a_spent_quota_says_so_and_until_when_as_long_as_it_lasts() -> None:
    async def main() -> None:
        gate = governor(quota=Quota(day=2)).gate("p", step(), HOST)
        run, other = new_run(), new_run()
        tasks = calls(gate, run, Script(), 3)
        await settled()
        expected = Wait(f"day quota of {HOST} is spent", START + 60, Rate(2, 86400))
        assert list(run.waits.values()) == [expected]
        tasks += calls(gate, other, Script(), 1)
        await settled()
        assert list(other.waits.values()) == [expected]
        await asyncio.gather(*tasks)
        assert (run.waits, other.waits) == ({}, {})
        assert clock() == pytest.approx(60, abs=0.01)

    virtually(main)


def test_a_withdrawn_payload_waits_for_nothing_any_more() -> None:
    async def main() -> None:
        gate = governor().gate("p", step(quota=Quota(minute=1)), HOST)
        run = new_run()
        tasks = calls(gate, run, Script(), 5)
        await settled()
        assert [wait.reason for wait in run.waits.values()] == ["minute quota of step geo is spent"]
        for task in tasks:
            task.cancel()
        await settled()
        assert run.waits == {}

    virtually(main)


def test_a_wait_for_a_quota_uses_up_no_attempt_and_no_patience() -> None:
    async def main() -> str:
        from roundtrip.enrich.settings import Retry

        settings = step(quota=Quota(day=1), retry=Retry(attempts=1, patience=1))
        gate = governor().gate("p", settings, HOST)
        answers = await asyncio.gather(*calls(gate, new_run(), Script(), 3))
        return answers[-1]

    assert virtually(main) == "answer"


def test_a_quota_survives_restarts_and_a_crash_wastes_at_most_a_block() -> None:
    async def main() -> tuple[int, int]:
        store = MemoryStore()
        made = restarts = 0
        while clock() < 50:  # all in one day
            attempt = Script()
            gate = governor(store, quota=Quota(day=1000)).gate("p", step(), HOST)
            tasks = calls(gate, new_run(), attempt, 13)
            await asyncio.sleep(0.5)
            made += len(attempt.tried)
            restarts += 1
            for task in tasks:
                task.cancel()
        return made, restarts

    made, restarts = virtually(main)
    assert restarts == 100
    # blocks of 10: thirteen calls take two, so each of these deaths wastes seven
    assert made == 650


class SlowCounters:
    """Counters on a disk that takes its time, and may fail."""

    def __init__(self) -> None:
        self.store = MemoryStore().counters
        self.failure: Exception | None = None
        self.reserved: list[int] = []
        self.used = 0

    def spent(self, counter: str, window: str) -> int:
        return self.store.spent(counter, window)

    async def reserve(self, counter: str, window: str, number: int) -> int:
        await asyncio.sleep(0.01)
        if self.failure:
            raise self.failure
        self.reserved.append(number)
        return await self.store.reserve(counter, window, number)


def test_no_call_is_made_before_it_is_reserved_durably() -> None:
    async def main() -> list[int]:
        counters = SlowCounters()
        gates = Governor({HOST: HostSettings(HOST, quota=Quota(day=5000))}, counters, now=wall)
        gate = gates.gate("p", step(concurrency=1000), HOST)
        made = 0

        async def attempt() -> None:
            nonlocal made
            made += 1
            assert made <= sum(counters.reserved)

        await asyncio.gather(*calls(gate, new_run(), attempt, 300))
        (spent,) = gates.figures()[0].quotas
        assert (spent.calls, spent.limit, spent.window) == (300, 5000, "day")
        return counters.reserved

    assert virtually(main) == [50] * 6


def test_a_block_that_comes_after_its_window_is_not_used_in_the_next_one() -> None:
    async def main() -> int:
        counters = SlowCounters()
        gates = Governor({}, counters, now=wall)
        gate = gates.gate("p", step(quota=Quota(day=2)), HOST)
        await asyncio.sleep(59.995)  # the block comes in the new day
        attempt = Script()
        tasks = calls(gate, new_run(), attempt, 9)
        await asyncio.sleep(0.007)
        tasks += calls(gate, new_run(), attempt, 1)
        await asyncio.sleep(100)
        for task in tasks:
            task.cancel()
        assert counters.spent("step p/geo", "2026-01-01") == 2
        return len(attempt.tried)

    assert virtually(main) == 2


def test_a_ledger_that_fails_is_told_to_those_who_wait_and_blames_no_record() -> None:
    async def main() -> list[Any]:
        counters = SlowCounters()
        counters.failure = OSError(28, "No space left on device")
        gates = Governor({}, counters, now=wall)
        gate = gates.gate("p", step(quota=Quota(day=100)), HOST)
        failed = await asyncio.gather(*calls(gate, new_run(), Script(), 3), return_exceptions=True)
        counters.failure = None
        return [*failed, await gate.call(Script(), new_run())]

    found = virtually(main)
    assert [type(one) for one in found] == [OSError] * 3 + [str]


def test_a_step_with_a_fallback_does_not_wait_for_a_quota() -> None:
    async def main() -> list[Any]:
        settings = step(quota=Quota(day=1), fallback="other")
        gate = governor().gate("p", settings, HOST)
        tasks = calls(gate, new_run(), Script(), 2)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert clock() < 1
        return found

    first, second = virtually(main)
    assert first == "answer"
    assert isinstance(second, PassingFault)
    assert "step geo: day quota of step geo is spent" in second.detail
    assert second.title == "Quota is spent"


def test_two_gates_of_one_step_never_exceed_its_quota_together() -> None:
    async def main() -> int:
        store = MemoryStore()
        gates = governor(store)
        settings = step(quota=Quota(day=500))
        attempt = Script()
        tasks = calls(gates.gate("p", settings, HOST), new_run(), attempt, 400)
        tasks += calls(gates.gate("p", settings, "other.example"), new_run(), attempt, 400)
        await asyncio.sleep(30)
        made = len(attempt.tried)
        for task in tasks:
            task.cancel()
        return made

    assert 490 <= virtually(main) <= 500
