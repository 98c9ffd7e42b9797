"""When a call is tried again, and how long to wait before: one retry layer for all steps.

tenacity is entered only after a first failure, so a call that succeeds doesn't pay for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from roundtrip.enrich.faults import PassingFault, Transient
from roundtrip.enrich.settings import Retry

log = logging.getLogger("roundtrip.enrich")

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")

FIRST_PAUSE = 0.5  # seconds


async def persist(attempt: Callable[[], Awaitable[T]], policy: Retry, sleep: Sleep) -> T:
    """Make the attempt, and again while it raises Transient; PassingFault when it is enough.

    The pauses grow exponentially, with full jitter, so that calls that failed together don't come
    back together.
    """
    try:
        return await attempt()
    except Transient as failure:
        if policy.attempts <= 1:
            raise _given_up(failure, 1) from None
        first = failure
    return await _again(attempt, first, policy, sleep)


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
        wait=wait_random_exponential(multiplier=FIRST_PAUSE, max=policy.max_delay),
        stop=stop_after_attempt(policy.attempts),
        sleep=sleep,
        before_sleep=_log,
        reraise=True,
    )
    try:
        return await retrying(replayed)
    except Transient as last:
        raise _given_up(last, policy.attempts) from None


def _given_up(last: Transient, attempts: int) -> PassingFault:
    fault = last.fault
    many = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    return PassingFault(fault.title, f"{fault.detail}; given up after {many}", fault.status)


def _log(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    reason = failure.fault.detail if isinstance(failure, Transient) else ""
    wait = round(state.next_action.sleep, 3) if state.next_action else 0.0
    log.debug("call retried", extra={"reason": reason, "wait": wait})
