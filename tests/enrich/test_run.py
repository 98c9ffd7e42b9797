"""What a run says of its own progress."""

from __future__ import annotations

import pytest

from roundtrip.enrich.results import Stats
from roundtrip.enrich.run import Run, Wait
from roundtrip.enrich.settings import Rate
from roundtrip.enrich.store.memory import MemoryStore

MIDNIGHT = 1_795_305_600.0  # 2026-11-22 00:00 UTC
QUOTA = Wait("day quota of h is spent", MIDNIGHT, Rate(1000, 86400.0))


def run(stats: Stats, *waits: Wait) -> Run:
    return Run("N", MemoryStore(), stats, dict(enumerate(waits)))


@pytest.mark.parametrize(
    ("done", "calls", "when"),
    [
        (0.1, 1000, "2026-11-30 00:00 UTC"),  # nine days' worth is left, the first from midnight on
        (0.5, 1001, "2026-11-23 00:00 UTC"),
        (0.9, 1000, None),  # all in the first window: `until` says it
    ],
)
def test_a_payload_that_a_quota_holds_up_says_when_its_last_calls_can_be_made(
    done: float, calls: int, when: str | None
) -> None:
    progress = run(Stats(calls=calls), QUOTA).progress(done)
    assert progress.until == MIDNIGHT
    expected = f"; at that rate the last calls can be made about {when}" if when else ""
    assert progress.waiting == f"day quota of h is spent{expected}"


def test_what_was_paid_for_before_a_restart_counts_in_the_estimate() -> None:
    progress = run(Stats(calls=100, cached=900), QUOTA).progress(0.1)
    assert "2026-11-30" in str(progress.waiting)


def test_nothing_read_yet_is_no_estimate() -> None:
    assert run(Stats(), QUOTA).progress(0.0).waiting == "day quota of h is spent"


def test_of_several_waits_the_longest_is_told() -> None:
    waits = Wait("soon", 5.0), Wait("later", 7.0), Wait("nobody knows")
    progress = run(Stats(), *waits).progress(0.5)
    assert (progress.waiting, progress.until) == ("later", 7.0)


def test_progress_is_a_snapshot() -> None:
    stats = Stats(records=1)
    progress = run(stats).progress(0.5)
    stats.records = 2
    assert progress.stats.records == 1
