"""How fast an exchange gets on, and how long it will take."""

from __future__ import annotations

import pytest

from roundtrip.pace import WINDOW, Pace
from roundtrip.protocol.progress import ProgressNote


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def note(done: float, records: int = 0, seconds: float = 0.0) -> ProgressNote:
    return ProgressNote("x.csv", done, records=records, seconds=seconds)


def test_the_first_look_believes_what_the_other_side_says_of_its_own_duration() -> None:
    pace = Pace(Clock())
    pace.add(note(0.25, records=100, seconds=20.0))
    assert pace.rate == pytest.approx(5.0)
    assert pace.left == pytest.approx(60.0)


def test_later_looks_count_by_the_own_clock_only() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.add(note(0.2, records=100, seconds=9999.0))
    clock.now += 10
    pace.add(note(0.4, records=300, seconds=1.0))
    assert pace.rate == pytest.approx(20.0)
    assert pace.left == pytest.approx(30.0)


def test_what_was_long_ago_does_not_count() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.add(note(0.0, records=0))
    for step in range(1, 100):
        clock.now += 1
        pace.add(note(0.1, records=100) if step < 50 else note(0.1 + step / 1000, records=1000))
    clock.now += WINDOW - 1
    pace.add(note(0.5, records=1029))
    assert pace.rate == pytest.approx(1.0, rel=0.05)


def test_a_note_that_was_seen_already_changes_nothing() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(3):
        pace.add(note(0.25, records=100, seconds=20.0))
        clock.now += 10
    assert pace.rate == pytest.approx(5.0)


def test_an_exchange_that_begins_anew_is_measured_anew() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.add(note(0.8, records=800, seconds=8.0))
    clock.now += 1
    pace.add(note(0.1, records=50, seconds=5.0))
    assert pace.rate == pytest.approx(10.0)
    assert pace.left == pytest.approx(45.0)


@pytest.mark.parametrize("given", [None, note(0.0), note(0.0, seconds=3.0), note(0.5)])
def test_what_can_t_be_told_is_none(given: ProgressNote | None) -> None:
    pace = Pace(Clock())
    if given is not None:
        pace.add(given)
    assert pace.left is None
    assert pace.rate is None


def test_an_exchange_that_stands_still_has_no_end_in_sight() -> None:
    clock = Clock()
    pace = Pace(clock)
    for seconds in (1.0, 2.0, 3.0):
        clock.now += 1
        pace.add(note(0.5, records=10, seconds=seconds))
    assert pace.left is None


def test_a_program_is_told_what_the_note_says_and_the_pace() -> None:
    told = Pace(Clock()).told(note(0.25, records=100, seconds=20.0))
    assert told["exchange"] == "x.csv"
    assert (told["done"], told["rate"], told["left"]) == (0.25, 5.0, 60.0)
