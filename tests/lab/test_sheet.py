"""The books of the lab's application: a sheet must not look better than things are."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.e2e.payloads import sample
from tests.lab import application
from tests.lab.pair import faults

_FOLDERS = ("outbox", "inbox", "failed", "state/pending", "state/collected", "state/closing")
_NAMES = ("f-0.csv", "f-1.jsonl")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in _FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(application, "ROOT", tmp_path)
    monkeypatch.setattr(application, "_BOOKS", tmp_path / "books")
    for name in _NAMES:
        application._note("sent", name=name, time=0.0)
    return tmp_path


def _deliver(root: Path, name: str, under: str = "", content: bytes | None = None) -> None:
    right = sample(Random(name), name, 400).result
    (root / "inbox" / (under or name)).write_bytes(right if content is None else content)


def _sheet() -> dict[str, Any]:
    application._collect()
    return application.sheet()


def test_all_is_well_when_each_file_came_once_or_is_waiting(root: Path) -> None:
    _deliver(root, _NAMES[0])
    (root / "state/pending" / f"01JD0000000000000000000000-{_NAMES[1]}").touch()
    found = _sheet()
    assert (found["delivered"], found["waiting"]) == (1, 1)
    assert not faults(found)


def test_a_file_that_is_nowhere_is_lost(root: Path) -> None:
    _deliver(root, _NAMES[0])
    assert faults(_sheet()) == ["1 lost"]


def test_a_result_that_comes_under_a_second_name_is_doubled(root: Path) -> None:
    for name in _NAMES:
        _deliver(root, name)
    _deliver(root, _NAMES[0], under="f-0.01JD0000000000000000000000.csv")
    assert faults(_sheet()) == ["1 doubled"]


def test_half_a_result_is_wrong(root: Path) -> None:
    _deliver(root, _NAMES[0])
    _deliver(root, _NAMES[1], content=sample(Random(_NAMES[1]), _NAMES[1], 400).result[:-1])
    assert faults(_sheet()) == ["1 wrong"]


def test_a_result_that_nobody_asked_for_and_an_original_that_failed_are_faults(root: Path) -> None:
    for name in (*_NAMES, "g-7.csv"):
        _deliver(root, name)
    (root / "failed" / "x.csv").touch()
    assert faults(_sheet()) == ["1 not asked for", "1 failed"]


def test_a_line_that_a_crash_has_torn_is_left_out(root: Path) -> None:
    for name in _NAMES:
        _deliver(root, name)
    with (root / "books/sent").open("a") as book:
        book.write(json.dumps({"name": "f-2.bin"})[:9])
    assert not faults(_sheet())


def test_a_load_that_was_not_handed_in_is_no_success(root: Path) -> None:
    for name in _NAMES:
        _deliver(root, name)
    assert faults({**_sheet(), "expected": 2}) == []
    assert faults({**_sheet(), "expected": 60}) == ["60 were to be sent, 2 were"]


def test_more_calls_than_are_allowed_are_a_fault(root: Path) -> None:
    for name in _NAMES:
        _deliver(root, name)
    assert faults({**_sheet(), "calls too many": 2}) == ["2 calls too many"]
