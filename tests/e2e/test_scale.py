"""What scale.py measures, small enough for every run, with bounds that only a defect breaks."""

from __future__ import annotations

import pytest

from tests.e2e.scale import Figures, backlog, large, many
from tests.e2e.world import World


def _number(figures: Figures, name: str) -> float:
    found = figures[name]
    assert isinstance(found, int | float)
    return found


def test_a_thousand_small_files_come_back_in_little_memory(world: World) -> None:
    figures = many(world, 1000)
    print(figures)
    assert _number(figures, "seconds") < 30
    assert _number(figures, "a: peak, MiB") < 100
    assert _number(figures, "b: peak, MiB") < 100


def test_a_large_file_takes_no_more_memory_than_a_small_one(world: World) -> None:
    figures = large(world, 256)
    print(figures)
    for role in ("a", "b"):
        grown = _number(figures, f"{role}: peak, MiB") - _number(
            figures, f"{role}: resident at first, MiB"
        )
        assert grown < 60


@pytest.mark.timeout(180)
def test_a_backlog_is_answered_from_the_start_and_steadily(world: World) -> None:
    figures = backlog(world, 5000)
    print(figures)
    assert _number(figures, "first answer after, s") < 3
    assert _number(figures, "b: peak, MiB") < 150
    assert _number(figures, "B again, all answered: ready after, s") < 3
    assert _number(figures, "B again, all answered: CPU, s") < 3
