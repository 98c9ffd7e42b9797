"""What follows from a pipeline's steps: columns, order, window, and who sees what."""

from __future__ import annotations

from typing import Any

import pytest

from roundtrip.enrich.compiled import MAX_WAITING, Compiled, sends_all
from roundtrip.enrich.settings import (
    Batch,
    CommandSettings,
    HttpSettings,
    Pipeline,
    PythonSettings,
    StepSettings,
)

HTTP = HttpSettings("http://127.0.0.1/{ip}")


class Bare:
    """As much of a step as compiling needs."""

    def __init__(self, settings: StepSettings) -> None:
        self.settings = settings
        self.name = settings.name
        self.into = settings.into or settings.name
        self.selected = tuple(settings.select)


def step(name: str, action: Any = HTTP, **more: Any) -> StepSettings:
    return StepSettings(name, action, **more)


def compiled(*steps: StepSettings) -> Compiled:
    return Compiled(Pipeline("p", steps), Bare)  # type: ignore[arg-type]


def columns(*steps: StepSettings) -> list[str]:
    return [column.name for column in compiled(*steps).columns()]


def test_a_table_gets_a_column_for_each_selected_member_and_one_for_errors() -> None:
    geo = step("geo", select={"city": "a", "lat": "b"})
    asn = step("asn", on_error="drop", into="net")
    assert columns(geo, asn) == ["geo.city", "geo.lat", "geo.error", "net"]


def test_a_fallbacks_members_are_columns_of_the_step_it_is_for() -> None:
    first = step("a", select={"x": "x"}, fallback="b")
    assert columns(first, step("b", select={"x": "y", "z": "z"})) == ["a.x", "a.z", "a.error"]
    assert columns(first, step("b")) == ["a", "a.error"]


def test_a_member_named_error_is_not_doubled() -> None:
    assert columns(step("a", select={"error": "x"})) == ["a.error"]


def test_answers_are_written_in_the_order_of_the_steps_however_they_came() -> None:
    fields: dict[str, Any] = {"b": 2, "ip": 1, "a": 3}
    compiled(step("a"), step("b"), step("c")).put_in_order(fields)
    assert list(fields) == ["ip", "a", "b"]


def test_the_strictest_on_error_decides_for_unreadable_records() -> None:
    assert compiled(step("a"), step("b", on_error="drop")).strictest == "drop"
    assert compiled(step("a", on_error="fail"), step("b")).strictest == "fail"


def test_the_window_holds_twice_the_calls_that_may_run_up_to_a_bound() -> None:
    assert compiled(step("a", concurrency=5), step("b", concurrency=3)).waiting == 10
    assert compiled(step("a", concurrency=5, batch=Batch(10))).waiting == 100
    assert compiled(step("a", concurrency=10**6)).waiting == MAX_WAITING


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (step("a"), False),
        (step("a", send=("ip",)), False),
        (step("a", send=("*",)), True),
        (step("a", CommandSettings(("x",))), True),
        (step("a", CommandSettings(("x",)), send=("ip",)), False),
        (step("a", PythonSettings("x")), True),
    ],
)
def test_local_programs_get_the_whole_record_and_hosts_only_what_they_are_sent(
    settings: StepSettings, expected: bool
) -> None:
    assert sends_all(settings) is expected


@pytest.mark.parametrize(
    ("when", "skipped"),
    [
        (None, False),
        ("ip", False),
        ("none", True),
        ("no", True),
        ("empty", True),
        ("zero", False),  # JMESPath: a number is true
        ("length(zero)", True),  # an error
    ],
)
def test_a_condition_that_is_false_empty_or_broken_skips_the_step(
    when: str | None, skipped: bool
) -> None:
    (first,) = compiled(step("a", when=when)).firsts
    assert first.skips({"ip": "1", "no": False, "empty": [], "zero": 0}) is skipped


def test_a_step_sees_the_answers_it_waits_for() -> None:
    one, _, three = compiled(step("a"), step("b"), step("c", needs=("a",))).firsts
    assert (one.sees, three.sees) == ((), ("a",))
