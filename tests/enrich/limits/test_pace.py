"""Rates: spread evenly, never more than was said, and not less than that either."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.limits.pace import TICK, Pace
from roundtrip.enrich.settings import Rate
from tests.enrich.limits.virtual import HOST, Script, calls, governor, new_run, step, virtually


@given(
    st.integers(1, 5000),
    st.sampled_from([0.5, 1.0, 60.0, 3600.0]),
    st.lists(st.floats(0, 1), max_size=300),
)
def test_no_period_has_more_calls_than_its_rate_and_one_tick(
    number: int, seconds: float, arrivals: list[float]
) -> None:
    pace = Pace(Rate(number, seconds))
    burst = max(1, math.floor(number * TICK / seconds))
    now, went = 0.0, []
    for arrival in arrivals:
        now = max(now + arrival * seconds / number, pace.opens())
        pace.take(now)
        went.append(now)
    for index, start in enumerate(went):
        within = bisect_left(went, start + seconds * (1 - 1e-9)) - index
        assert within <= number + burst


@pytest.mark.parametrize("rate", [Rate(50, 1), Rate(1000, 1), Rate(30, 60), Rate(7, 1)], ids=str)
@pytest.mark.parametrize("where", ["step", "host"])
def test_calls_that_wait_go_at_their_rate(rate: Rate, where: str) -> None:
    async def main() -> list[float]:
        attempt = Script()
        gates = governor(rate=rate if where == "host" else None)
        own = rate if where == "step" else None
        gate = gates.gate("p", step(concurrency=500, rate=own), HOST)
        await asyncio.gather(*calls(gate, new_run(), attempt, 2000))
        return attempt.tried

    tried = virtually(main)
    expected = 2000 * rate.seconds / rate.calls
    assert expected * 0.97 <= tried[-1] <= expected * 1.01
    burst = max(1, math.floor(rate.calls * TICK / rate.seconds))
    for start in (0, 700, 1500):
        within = bisect_left(tried, tried[start] + rate.seconds * (1 - 1e-9)) - start
        assert within <= rate.calls + burst


def test_the_narrower_of_two_rates_counts() -> None:
    async def main() -> float:
        attempt = Script()
        gate = governor(rate=Rate(10, 1)).gate("p", step(rate=Rate(5, 1)), HOST)
        await asyncio.gather(*calls(gate, new_run(), attempt, 51))
        return attempt.tried[-1]

    assert virtually(main) == pytest.approx(10, abs=0.01)
