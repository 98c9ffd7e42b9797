"""Progress files: what is written is what is read, and anything else is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.protocol.names import is_part, part_of, split
from roundtrip.protocol.progress import (
    ProgressName,
    ProgressNote,
    Waiting,
    progress_name,
    split_progress,
)

COUNT = st.integers(0, 2**53)
MOMENT = st.integers(0, 253_402_300_799_000).map(lambda milliseconds: milliseconds / 1000)
NOTES = st.builds(
    ProgressNote,
    exchange=st.just("x.csv"),
    done=st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000),
    records=COUNT,
    ok=COUNT,
    failed=COUNT,
    calls=COUNT,
    cached=COUNT,
    seconds=st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000),
    waiting=st.none() | st.builds(Waiting, st.text(max_size=500), st.none() | MOMENT),
    created=st.none() | st.text(),
)


@given(NOTES)
def test_what_is_written_is_read_again(note: ProgressNote) -> None:
    assert ProgressNote.decode(note.encode(), "x.csv") == note


GOOD: dict[str, Any] = {"v": 1, "exchange": "x.csv", "done": 0.5}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[" * 60_000,
        b" " * 70_000,
        b"[]",
        b"7",
        json.dumps(GOOD | {"v": 2}).encode(),
        json.dumps(GOOD | {"exchange": "y.csv"}).encode(),
        json.dumps(GOOD | {"done": None}).encode(),
        json.dumps(GOOD | {"done": True}).encode(),
        json.dumps(GOOD | {"done": -0.1}).encode(),
        b'{"v": 1, "exchange": "x.csv", "done": NaN}',
        b'{"v": 1, "exchange": "x.csv", "done": 1e999}',
        b'{"v": 1, "exchange": "x.csv", "done": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_progress_is_none(content: bytes) -> None:
    assert ProgressNote.decode(content, "x.csv") is None


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_nothing_that_lies_there_is_an_error(content: bytes | str) -> None:
    encoded = content.encode() if isinstance(content, str) else content
    assert ProgressNote.decode(encoded, "x.csv") is None


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"done": 7}, {"done": 1.0}),
        ({"records": "many"}, {"records": 0}),
        ({"records": -1}, {"records": 0}),
        ({"records": 10**30}, {"records": 0}),
        ({"waiting": "a while"}, {"waiting": None}),
        ({"waiting": {"reason": 7}}, {"waiting": None}),
        ({"waiting": {"reason": "r", "until": "soon"}}, {"waiting": Waiting("r")}),
        ({"waiting": {"reason": "r", "until": "2026-11-22T00:00"}}, {"waiting": Waiting("r")}),
        (
            {"waiting": {"reason": "r", "until": "2026-11-22T00:00:00.000Z"}},
            {"waiting": Waiting("r", 1795305600.0)},
        ),
        ({"waiting": {"reason": "r" * 9000}}, {"waiting": Waiting("r" * 500)}),
        ({"created": 7, "new key": 1}, {"created": None}),
    ],
)
def test_an_odd_member_spoils_nothing_else(odd: dict[str, Any], expected: dict[str, Any]) -> None:
    found = ProgressNote.decode(json.dumps(GOOD | odd).encode(), "x.csv")
    assert found == ProgressNote(**{"exchange": "x.csv", "done": 0.5, **expected})


def test_a_pause_that_never_ends_can_be_written() -> None:
    note = ProgressNote("x.csv", 0.5, waiting=Waiting("r", 1e300))
    assert json.loads(note.encode())["waiting"]["until"] == "9999-12-31T23:59:59.000Z"


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,199}", fullmatch=True), COUNT)
def test_a_name_says_what_it_was_made_of_and_belongs_to_no_exchange(name: str, number: int) -> None:
    made = progress_name(name, number)
    expected = None if name.endswith(".done") else ProgressName(name, number)
    assert split_progress(made) == expected
    assert split(made) is None
    assert is_part(part_of(made)), "what a killed writer leaves is swept"
    assert len(part_of(progress_name("x" * 200, 10**13))) <= 255


@pytest.mark.parametrize(
    "name",
    [
        "x.csv.1.progress",
        ".x.csv.progress",
        ".x.csv.1.progres",
        ".x.csv..progress",
        ".x.csv.-1.progress",
        "..x.csv.1.progress.0011aabb.part",
        ".x y.1.progress",
        ".x.csv.1.progress\n",
        "." + "x" * 201 + ".1.progress",
        ".x.\u0661.progress",
        ".x.csv." + "1" * 21 + ".progress",
    ],
)
def test_other_names_are_no_progress(name: str) -> None:
    assert split_progress(name) is None
