"""Which step waits for which: decided from names alone."""

from __future__ import annotations

from typing import Any

import pytest

from roundtrip.enrich.graph import named_fields, plan
from roundtrip.enrich.settings import (
    Batch,
    CommandSettings,
    HttpSettings,
    LookupSettings,
    Pipeline,
    StepSettings,
)


def step(name: str, url: str = "https://h/", **settings: Any) -> StepSettings:
    return StepSettings(name, HttpSettings(url), **settings)


def waits(*steps: StepSettings) -> dict[str, set[str]]:
    """For each step that runs by itself, the names of those it waits for."""
    return {
        steps[node.chain[0]].name: {
            other.name for place, other in enumerate(steps) if node.needs >> place & 1
        }
        for node in plan(Pipeline("p", steps))
    }


def test_steps_that_name_nothing_of_each_other_wait_for_nobody() -> None:
    assert waits(step("a", "https://h/{ip}"), step("b", "https://h/{ip}")) == {
        "a": set(),
        "b": set(),
    }


def test_a_step_waits_for_those_it_needs_wherever_they_stand() -> None:
    assert waits(step("a", needs=("c",)), step("b"), step("c"))["a"] == {"c"}


@pytest.mark.parametrize(
    "later",
    [
        step("z", "https://h/{geo.city}"),
        step("z", "https://h/{geo}"),
        step("z", when="geo.city == 'Bonn'"),
        step("z", when="length(keys(geo)) > `1`"),
        step("z", send=("geo",)),
        StepSettings("z", HttpSettings("https://h/", query={"c": "{geo.city}"})),
        StepSettings("z", HttpSettings("https://h/", json={"a": ["{geo.city}"]})),
        StepSettings("z", HttpSettings("https://h/", form={"a": "{geo.city}"})),
        StepSettings("z", HttpSettings("https://h/", headers={"A": "{geo.city}"})),
        StepSettings("z", HttpSettings("https://h/", body="{geo.city}")),
        StepSettings("z", HttpSettings("https://h/"), batch=Batch(5, item="{geo.city}")),
        StepSettings("z", HttpSettings("https://h/"), batch=Batch(5, by="id", key="{geo.id}")),
        StepSettings("z", CommandSettings(("prog", "--city={geo.city}"))),
        StepSettings("z", LookupSettings("t.csv", "{geo.city}")),
    ],
)
def test_a_step_waits_for_the_one_whose_result_it_names(later: StepSettings) -> None:
    assert waits(step("g", into="geo"), step("other"), later)["z"] == {"g"}


def test_a_name_that_only_begins_alike_is_another_field() -> None:
    assert waits(step("geo"), step("z", "https://h/{geography}"))["z"] == set()


def test_a_step_may_write_over_the_field_that_it_reads() -> None:
    assert waits(step("city", "https://h/{city}")) == {"city": set()}


def test_a_fallback_runs_for_its_step_only_and_its_needs_are_its_steps_needs() -> None:
    steps = (
        step("a", fallback="b"),
        step("b", "https://h/{geo.x}", fallback="c"),
        step("c"),
        step("geo"),
    )
    assert waits(*steps) == {"a": {"geo"}, "geo": set()}
    assert plan(Pipeline("p", steps))[0].chain == (0, 1, 2)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step("a", needs=("b",)), step("b", needs=("a",))], "a -> b -> a"),
        ([step("a", "https://h/{b}"), step("b", "https://h/{a}")], "a -> b -> a"),
        ([step("a", needs=("nobody",))], "'nobody'"),
        ([step("a", fallback="nobody")], "'nobody'"),
        ([step("a", fallback="b"), step("b", fallback="a")], "in a circle: a -> b -> a"),
        ([step("a", fallback="b"), step("b"), step("c", needs=("b",))], "only a fallback"),
    ],
)
def test_a_graph_that_can_not_run_is_said_in_one_line(steps: list[StepSettings], said: str) -> None:
    with pytest.raises(ValueError, match=r"step|fallback") as error:
        plan(Pipeline("p", tuple(steps)))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_list_of_a_batch_is_no_field_of_the_record() -> None:
    assert named_fields(StepSettings("a", HttpSettings("https://h/", json="{batch}"))) == set()
