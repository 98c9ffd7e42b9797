"""While a payload runs: is it still wanted, and how far is it?"""

from __future__ import annotations

import asyncio

import pytest

from roundtrip.enrich import attendance
from roundtrip.enrich.attendance import Attendance
from roundtrip.enrich.faults import Withdrawn


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "LOOK", 0.005)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_a_payload_that_is_withdrawn_is_ended_wherever_it_waits() -> None:
    asked: list[None] = []

    def cancelled() -> bool:
        asked.append(None)
        return len(asked) == 3

    with pytest.raises(Withdrawn), Attendance(cancelled, None):
        await for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.02)
    assert len(asked) == 3, "nobody asks once it is over"


async def test_progress_is_told_until_the_end_and_not_after_it() -> None:
    told: list[None] = []
    with Attendance(None, lambda: told.append(None)):
        while len(told) < 3:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert len(told) == 3


async def test_an_agent_that_ends_is_no_withdrawal() -> None:
    async def work() -> None:
        with Attendance(lambda: False, None):
            await for_ever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_is_told_as_it_is() -> None:
    with pytest.raises(OSError, match="disk"), Attendance(lambda: False, lambda: None):
        raise OSError("disk")


async def test_without_anything_to_ask_or_tell_there_is_no_timer() -> None:
    watching = Attendance(None, None)
    with watching:
        assert watching._timer is None
