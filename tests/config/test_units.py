"""Numbers with units, read back from every way they can be written."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.config import units

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
BYTES = {"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1024, "MiB": 2**20, "GiB": 2**30}
anything = st.one_of(
    st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.none())
)


@given(st.integers(0, 10**6), st.sampled_from(list(SECONDS)), st.sampled_from(["", " "]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str, gap: str) -> None:
    text = f"{number}{gap if unit else ''}{unit}"
    assert units.parse_duration(text) == pytest.approx(number * SECONDS[unit])
    assert re.search(units.DURATION_PATTERN, text)


@given(st.integers(0, 10**6), st.sampled_from(list(BYTES)))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert units.parse_size(f"{number}{unit}") == number * BYTES[unit]
    assert units.parse_size(f"{number} {unit.lower()}") == number * BYTES[unit]
    assert units.parse_size(number) == number
    assert re.search(units.SIZE_PATTERN, f"{number}{unit}")


@given(st.integers(1, 10**9), st.sampled_from("smhd"))
def test_a_rate_is_calls_in_a_time(number: int, unit: str) -> None:
    rate = units.parse_rate(f"{number}/{unit}")
    assert (rate.calls, rate.seconds) == (number, SECONDS[unit])
    assert re.search(units.RATE_PATTERN, f"{number}/{unit}")


@given(st.floats(0, 1e9), st.sampled_from([0.5, 90]))
def test_a_plain_number_is_seconds(number: float, other: float) -> None:
    assert units.parse_duration(number) == number
    assert units.parse_duration(other) == other


@given(anything)
def test_anything_else_is_refused_in_one_short_line(value: object) -> None:
    for parse in (units.parse_duration, units.parse_size, units.parse_rate):
        try:
            parsed = parse(value)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 200
        else:
            number = parsed if isinstance(parsed, int | float) else parsed.calls
            assert math.isfinite(number) and number >= 0


@pytest.mark.parametrize("text", ["", "s", "1w", "1h30m", "-1s", "1e3s", "\u0663s", "inf", "1_0s"])
def test_a_duration_has_one_plain_number_and_one_unit(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        units.parse_duration(text)


@pytest.mark.parametrize("value", [True, 1.5, "1", "1K", "1 M", "B", None, []])
def test_a_size_needs_a_unit_or_is_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        units.parse_size(value)


def test_a_fraction_of_a_size_is_whole_bytes() -> None:
    assert units.parse_size("1.5KiB") == 1536
