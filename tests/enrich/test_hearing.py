"""What a program says on stderr: percentages are told, and only the rest is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.steps.hearing import Hearing

PERCENT = r"([0-9.]+) ?%"


def heard(*pieces: bytes, pattern: str | None = PERCENT) -> tuple[bytes, list[float]]:
    told: list[float] = []
    hearing = Hearing(pattern, told.append)
    kept = b"".join(map(hearing, pieces))
    return kept + hearing.rest, told


@pytest.mark.parametrize(
    ("pieces", "kept", "told"),
    [
        ((b"10%\n50 %\n",), b"", [0.1, 0.5]),
        ((b"\r 3%\r 4.5%\r",), b"\r", [0.03, 0.045]),
        ((b"reading\n7%\ncan't open x",), b"reading\ncan't open x", [0.07]),
        ((b"1", b"2", b"%", b"\n"), b"", [0.12]),
        ((b"...%\n",), b"...%\n", []),
        ((b"12%",), b"12%", []),
    ],
)
def test_lines_that_tell_a_percentage_are_told_and_not_kept(
    pieces: tuple[bytes, ...], kept: bytes, told: list[float]
) -> None:
    assert heard(*pieces) == (kept, told)


def test_a_group_that_takes_no_part_tells_nothing() -> None:
    assert heard(b"done\n", pattern="([0-9]+)%|done") == (b"done\n", [])


def test_an_endless_line_takes_no_memory() -> None:
    hearing = Hearing(PERCENT, lambda share: None)
    for _ in range(100):
        hearing(b"x" * 10_000)
    assert len(hearing.rest) <= 4096


@given(st.lists(st.sampled_from([b"5%", b"\n", b"\r", b"a", b"%", b"\xff", b"1.2%\n"])))
def test_how_the_pipe_cuts_it_makes_no_difference(pieces: list[bytes]) -> None:
    assert heard(*pieces) == heard(b"".join(pieces))


@given(st.lists(st.binary()))
def test_without_a_pattern_everything_is_kept(pieces: list[bytes]) -> None:
    assert heard(*pieces, pattern=None) == (b"".join(pieces), [])
