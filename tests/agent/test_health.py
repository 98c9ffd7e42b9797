"""One list of what is wrong: since when, how bad, and who is told."""

from __future__ import annotations

import pytest

from roundtrip.roles.health import Health, Severity


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def health_of(changes: list[int], clock: Clock) -> Health:
    return Health(on_change=lambda: changes.append(1), clock=clock)


def test_a_condition_keeps_its_beginning_whatever_its_text_becomes() -> None:
    clock = Clock()
    health = health_of([], clock)
    health.report("share.enriched", "away", Severity.WARNING)
    clock.now += 60
    health.report("share.enriched", "hung", Severity.ALARM)
    (found,) = health.conditions()
    assert (found.text, found.severity) == ("hung", Severity.ALARM)
    assert found.since == "2023-11-14T22:13:20.000Z"


def test_a_condition_that_comes_again_begins_again() -> None:
    clock = Clock()
    health = health_of([], clock)
    health.report("canary", "late")
    health.clear("canary")
    assert not health.holds("canary")
    clock.now += 60
    health.report("canary", "late")
    assert health.conditions()[0].since == "2023-11-14T22:14:20.000Z"


def test_only_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    changes: list[int] = []
    health = health_of(changes, Clock())
    with caplog.at_level("INFO", "roundtrip.health"):
        for _ in range(3):
            health.report("space.state", "9 bytes free")
        health.report("space.state", "8 bytes free")
        health.clear("space.state")
        health.clear("space.state")
    assert len(changes) == 3
    # Another number is no new trouble: the log says when it began and when it was over.
    assert [record.message for record in caplog.records] == ["trouble", "trouble over"]


def test_conditions_are_listed_in_the_order_in_which_they_began() -> None:
    health = health_of([], Clock())
    for key in ("b", "a", "c"):
        health.report(key, "x")
    health.report("b", "y")
    assert [condition.key for condition in health.conditions()] == ["b", "a", "c"]
