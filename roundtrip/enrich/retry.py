"""When a call is tried again, and how long to wait before: one retry layer for all steps.

tenacity is entered only after a first failure, so a call that succeeds doesn't pay for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_random_exponential

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.settings import Retry

log = logging.getLogger("roundtrip.enrich")

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")

FIRST_PAUSE = 0.5  # seconds
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110 9.2.2
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
MAYBE_EXECUTED = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)


class Verdict(Enum):
    """What one attempt's outcome means."""

    ACCEPT = "accept"
    RETRY = "retry"
    REFUSE = "refuse"


def is_idempotent(method: str, said: bool | None) -> bool:
    """Whether the same request twice does what it does once: as the step says, else by method."""
    return method.upper() in IDEMPOTENT if said is None else said


def classify(outcome: int | httpx.TransportError, *, idempotent: bool) -> Verdict:
    """The verdict on a status or a transport error.

    A connection that never came about is always tried again; one that broke after the request may
    have been executed is tried again only when that does no harm.
    """
    if isinstance(outcome, int):
        if 200 <= outcome < 300:
            return Verdict.ACCEPT
        return Verdict.RETRY if outcome in LATER else Verdict.REFUSE
    if isinstance(outcome, NEVER_SENT):
        return Verdict.RETRY
    if isinstance(outcome, MAYBE_EXECUTED) and idempotent:
        return Verdict.RETRY
    return Verdict.REFUSE


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), if any."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        when = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))


class Transient(Exception):
    """One attempt failed, and another may succeed; `after` is what Retry-After asked for."""

    def __init__(self, fault: RecordFault, after: float | None = None) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.after = after


class _Pause(wait_base):
    """Retry-After if the answer had one, else exponential with full jitter."""

    def __init__(self, max_delay: float) -> None:
        self._usual = wait_random_exponential(multiplier=FIRST_PAUSE, max=max_delay)

    def __call__(self, retry_state: RetryCallState) -> float:
        asked = _failure(retry_state).after
        return self._usual(retry_state) if asked is None else asked


class _Enough(stop_base):
    """All attempts made, or the API asks for a longer pause than the step allows."""

    def __init__(self, policy: Retry) -> None:
        self._policy = policy

    def __call__(self, retry_state: RetryCallState) -> bool:
        asked = _failure(retry_state).after
        too_long = asked is not None and asked > self._policy.max_delay
        return too_long or retry_state.attempt_number >= self._policy.attempts


async def persist(attempt: Callable[[], Awaitable[T]], policy: Retry, sleep: Sleep) -> T:
    """Make the attempt, and again while it raises Transient; RecordFault when it is enough."""
    try:
        return await attempt()
    except Transient as failure:
        if policy.attempts <= 1:
            raise failure.fault from None
        return await _again(attempt, failure, policy, sleep)


async def _again(
    attempt: Callable[[], Awaitable[T]], first: Transient, policy: Retry, sleep: Sleep
) -> T:
    failures: list[Transient] = [first]

    async def replayed() -> T:
        """tenacity's first attempt is the one that already failed."""
        if failures:
            raise failures.pop()
        return await attempt()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(Transient),
        wait=_Pause(policy.max_delay),
        stop=_Enough(policy),
        sleep=sleep,
        before_sleep=_log,
        reraise=True,
    )
    try:
        return await retrying(replayed)
    except Transient as last:
        raise _given_up(last, policy, retrying.statistics.get("attempt_number", 1)) from None


def _given_up(last: Transient, policy: Retry, attempts: int) -> RecordFault:
    fault = last.fault
    reason = f"given up after {attempts} attempt{'s' if attempts > 1 else ''}"
    if last.after is not None and last.after > policy.max_delay:
        reason += f": it asks to wait {last.after:g} s, retry.max_delay is {policy.max_delay:g} s"
    return RecordFault(fault.title, f"{fault.detail}; {reason}", fault.status)


def _failure(state: RetryCallState) -> Transient:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, Transient):
        raise TypeError("only Transient is retried") from error
    return error


def _log(state: RetryCallState) -> None:
    failure = _failure(state)
    wait = round(state.next_action.sleep, 3) if state.next_action else 0.0
    log.debug("call retried", extra={"reason": failure.fault.detail, "wait": wait})
