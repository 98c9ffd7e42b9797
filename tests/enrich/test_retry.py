"""When a call is tried again, and how long it pauses before: without a clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from roundtrip.enrich.faults import PassingFault, RecordFault, Transient
from roundtrip.enrich.retry import persist
from roundtrip.enrich.settings import Retry

FAULT = RecordFault("503 Service Unavailable", "step geo: a answered 503", 503)


def failing(*failures: Transient) -> Callable[[], Awaitable[str]]:
    left = list(failures)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return attempt


class Pauses(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def test_a_success_never_waits() -> None:
    pauses = Pauses()
    assert await persist(failing(), Retry(), pauses) == "answer"
    assert pauses == []


async def test_pauses_grow_with_jitter_up_to_the_longest() -> None:
    pauses = Pauses()
    attempt = failing(*[Transient(FAULT)] * 40)
    assert await persist(attempt, Retry(attempts=41, max_delay=4), pauses) == "answer"
    assert len(pauses) == 40
    assert all(0 <= pause <= min(4, 0.5 * 2**n) for n, pause in enumerate(pauses))
    assert max(pauses) > 2
    assert len(set(pauses)) > 30


@pytest.mark.parametrize(("attempts", "said"), [(1, "1 attempt"), (3, "3 attempts")])
async def test_after_the_last_attempt_the_fault_says_how_many_there_were(
    attempts: int, said: str
) -> None:
    pauses = Pauses()
    with pytest.raises(PassingFault, match=f"a answered 503; given up after {said}$") as caught:
        await persist(failing(*[Transient(FAULT)] * 9), Retry(attempts=attempts), pauses)
    assert caught.value.status == 503
    assert not caught.value.lasting  # the next payload may have more luck
    assert len(pauses) == attempts - 1


async def test_a_record_fault_is_final() -> None:
    async def attempt() -> str:
        raise FAULT

    pauses = Pauses()
    with pytest.raises(RecordFault) as caught:
        await persist(attempt, Retry(), pauses)
    assert caught.value is FAULT
    assert pauses == []
