"""The schedule: who is looked at, when, and how often."""

from __future__ import annotations

import asyncio

import pytest

from roundtrip.agent import schedule as module
from roundtrip.agent.schedule import Schedule


class Looks:
    """Records looks; each waits for its gate if there is one, then does what it was told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.running = 0
        self.most = 0
        self.gate: asyncio.Event | None = None
        self.result: float | None = None
        self.errors: list[Exception] = []

    async def __call__(self, name: str) -> float | None:
        self.seen.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.errors:
                raise self.errors.pop(0)
            return self.result
        finally:
            self.running -= 1


async def test_names_are_looked_at_in_the_order_in_which_they_were_woken() -> None:
    looks = Looks()
    schedule = Schedule(looks, limit=1)
    for name in "cab":
        schedule.wake(name)
    await schedule.until_idle(0)
    assert looks.seen == ["c", "a", "b"]


async def test_no_more_looks_run_at_once_than_the_limit_allows() -> None:
    looks = Looks()
    looks.gate = asyncio.Event()
    schedule = Schedule(looks, limit=3)
    for number in range(10):
        schedule.wake(str(number))
    await asyncio.sleep(0)
    looks.gate.set()
    await schedule.until_idle(0)
    assert looks.most == 3
    assert len(looks.seen) == 10


async def test_waking_a_name_many_times_before_its_look_causes_one_look() -> None:
    looks = Looks()
    schedule = Schedule(looks, limit=1)
    for _ in range(5):
        schedule.wake("x")
    await schedule.until_idle(0)
    assert looks.seen == ["x"]


async def test_a_name_woken_during_its_look_is_looked_at_once_more_never_twice_at_once() -> None:
    looks = Looks()
    looks.gate = asyncio.Event()
    schedule = Schedule(looks, limit=5)
    schedule.wake("x")
    await asyncio.sleep(0)
    schedule.wake("x")
    schedule.wake("x")
    looks.gate.set()
    await schedule.until_idle(0)
    assert looks.seen == ["x", "x"]
    assert looks.most == 1


async def test_a_look_that_asks_for_it_is_repeated_later_and_an_event_comes_first() -> None:
    looks = Looks()
    looks.result = 3600.0
    schedule = Schedule(looks, limit=1)
    schedule.wake("x")
    await schedule.until_idle(0)
    assert schedule.is_busy(horizon=4000.0)
    assert not schedule.is_busy(horizon=60.0)
    looks.result = None
    schedule.wake("x")
    await schedule.until_idle(0)
    assert looks.seen == ["x", "x"]
    assert not schedule.is_busy(horizon=4000.0), "the old timer is gone"


async def test_a_timer_rings_by_itself() -> None:
    looks = Looks()
    schedule = Schedule(looks, limit=1)
    schedule.wake_after("x", 0.01)
    await schedule.until_idle(horizon=1.0)
    assert looks.seen == ["x"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a defect")])
async def test_a_failed_look_is_repeated_so_that_no_event_is_lost(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    looks = Looks()
    looks.errors = [error]
    told: list[OSError] = []
    schedule = Schedule(looks, limit=1, on_error=told.append)
    schedule.wake("x")
    await schedule.until_idle(horizon=1.0)
    assert looks.seen == ["x", "x"]
    assert told == ([error] if isinstance(error, OSError) else [])


async def test_pauses_between_failed_looks_grow_up_to_a_minute() -> None:
    schedule = Schedule(Looks(), limit=1)
    pauses = [schedule._pause_after("x") for _ in range(20)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == 60.0


async def test_a_paused_schedule_starts_nothing_until_it_is_resumed() -> None:
    looks = Looks()
    schedule = Schedule(looks, limit=1)
    schedule.pause()
    schedule.wake("x")
    await asyncio.sleep(0)
    assert looks.seen == []
    schedule.resume()
    await schedule.until_idle(0)
    assert looks.seen == ["x"]


async def test_stopping_lets_what_runs_end_and_cancels_what_does_not() -> None:
    looks = Looks()
    looks.gate = asyncio.Event()
    schedule = Schedule(looks, limit=2)
    schedule.wake("stuck")
    await asyncio.sleep(0)
    schedule.wake_after("later", 3600)
    await schedule.stop(timeout=0.01)
    assert looks.running == 0
    assert not schedule.is_busy(horizon=4000.0)


async def test_who_waits_for_the_end_hears_of_a_pause() -> None:
    looks = Looks()
    looks.gate = asyncio.Event()
    schedule = Schedule(looks, limit=1)
    schedule.wake("running")
    schedule.wake("waiting")
    ending = asyncio.create_task(schedule.until_idle(0))
    await asyncio.sleep(0)
    schedule.pause()
    await asyncio.sleep(0)
    assert not ending.done()  # What runs comes to its end.
    looks.gate.set()
    async with asyncio.timeout(5):
        await ending
    assert looks.seen == ["running"]
    assert schedule.is_busy()
