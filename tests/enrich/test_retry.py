"""What is tried again, and when: the decision as a table, the waiting without a clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate

import httpx
import pytest

from roundtrip.enrich import RecordFault, Retry
from roundtrip.enrich.retry import (
    Transient,
    Verdict,
    classify,
    is_idempotent,
    persist,
    retry_after,
)

A, R, X = Verdict.ACCEPT, Verdict.RETRY, Verdict.REFUSE

TABLE: list[tuple[int | httpx.TransportError, Verdict, Verdict]] = [
    # outcome, idempotent, not idempotent
    *[(status, A, A) for status in (200, 201, 204, 299)],
    *[(status, X, X) for status in (100, 301, 302, 304, 400, 401, 403, 404, 409, 410, 422, 501)],
    *[(status, R, R) for status in (408, 425, 429, 500, 502, 503, 504)],
    (httpx.ConnectError(""), R, R),
    (httpx.ConnectTimeout(""), R, R),
    (httpx.PoolTimeout(""), R, R),
    (httpx.ReadError(""), R, X),
    (httpx.WriteError(""), R, X),
    (httpx.CloseError(""), R, X),
    (httpx.ReadTimeout(""), R, X),
    (httpx.WriteTimeout(""), R, X),
    (httpx.RemoteProtocolError(""), R, X),
    (httpx.LocalProtocolError(""), X, X),
    (httpx.UnsupportedProtocol(""), X, X),
    (httpx.ProxyError(""), X, X),
]


@pytest.mark.parametrize(("outcome", "idempotent", "other"), TABLE, ids=lambda v: repr(v)[:30])
def test_each_outcome_has_its_verdict(
    outcome: int | httpx.TransportError, idempotent: Verdict, other: Verdict
) -> None:
    assert classify(outcome, idempotent=True) is idempotent
    assert classify(outcome, idempotent=False) is other


@pytest.mark.parametrize(
    ("method", "said", "expected"),
    [("GET", None, True), ("get", None, True), ("PUT", None, True), ("DELETE", None, True),
     ("POST", None, False), ("PATCH", None, False), ("POST", True, True), ("GET", False, False)],
)  # fmt: skip
def test_a_step_is_idempotent_as_it_says_or_by_its_method(
    method: str, said: bool | None, expected: bool
) -> None:
    assert is_idempotent(method, said) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), ("-1", None), ("1.5", None), ("soon", None),
     ("", None), ("٣", None), (formatdate(1_000_030, usegmt=True), 30.0),
     (formatdate(1, usegmt=True), 0.0), ("Sun, 06 Nov 99999 08:49:37 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(
    value: str | None, expected: float | None
) -> None:
    assert retry_after(value, now=1_000_000) == expected


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


async def test_retry_after_is_obeyed_to_the_second() -> None:
    pauses = Pauses()
    attempt = failing(Transient(FAULT, 7.0), Transient(FAULT, 0.0))
    assert await persist(attempt, Retry(attempts=3, max_delay=10), pauses) == "answer"
    assert pauses == [7.0, 0.0]


async def test_pauses_grow_with_jitter_up_to_the_longest() -> None:
    pauses = Pauses()
    attempt = failing(*[Transient(FAULT)] * 40)
    assert await persist(attempt, Retry(attempts=41, max_delay=4), pauses) == "answer"
    assert len(pauses) == 40
    assert all(0 <= pause <= min(4, 0.5 * 2**n) for n, pause in enumerate(pauses))
    assert max(pauses) > 2
    assert len(set(pauses)) > 30


async def test_after_the_last_attempt_the_fault_says_how_many_there_were() -> None:
    pauses = Pauses()
    with pytest.raises(RecordFault, match="given up after 3 attempts") as caught:
        await persist(failing(*[Transient(FAULT)] * 9), Retry(attempts=3), pauses)
    assert caught.value.status == 503
    assert len(pauses) == 2


async def test_a_single_attempt_is_never_repeated() -> None:
    pauses = Pauses()
    with pytest.raises(RecordFault):
        await persist(failing(Transient(FAULT)), Retry(attempts=1), pauses)
    assert pauses == []


async def test_an_api_that_asks_for_too_long_a_pause_is_not_called_again() -> None:
    pauses = Pauses()
    with pytest.raises(RecordFault, match=r"asks to wait 3600 s, retry\.max_delay is 60 s"):
        await persist(failing(Transient(FAULT, 3600.0)), Retry(), pauses)
    assert pauses == []


async def test_a_record_fault_is_final() -> None:
    async def attempt() -> str:
        raise FAULT

    pauses = Pauses()
    with pytest.raises(RecordFault):
        await persist(attempt, Retry(), pauses)
    assert pauses == []
