"""A file's identity, and when it is complete, without any process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from roundtrip.watch.handles import handle_of
from roundtrip.watching import finding
from roundtrip.watching.arrivals import _Old
from roundtrip.watching.finding import Found, look
from roundtrip.watching.plan import Plan
from roundtrip.watching.readiness import Readiness
from roundtrip.watching.telling import Teller


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("content")
    return path


def test_an_identity_has_the_handle_since_inode_numbers_are_given_again(file: Path) -> None:
    found = look(str(file), numbered=True)
    handle, status = handle_of(-100, str(file)), file.stat()
    assert found is not None
    assert found.identity == f"{handle.type:x}.{handle.data.hex()}:7:{status.st_mtime_ns}"


def test_where_inodes_are_numbered_anew_an_identity_has_none(file: Path) -> None:
    found = look(str(file), numbered=False)
    assert found is not None and found.identity == f":7:{file.stat().st_mtime_ns}"


def test_a_file_system_without_handles_gives_its_inode(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(finding, "handle_of", refuse)
    found = look(str(file), numbered=True)
    assert found is not None and found.identity.startswith(f"i{file.stat().st_ino:x}:")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("x", path)])
def test_what_is_no_regular_file_is_not_found(make: object, tmp_path: Path) -> None:
    make(tmp_path / "thing")  # type: ignore[operator]
    assert look(str(tmp_path / "thing"), numbered=True) is None
    assert look(str(tmp_path / "thing/below"), numbered=True) is None
    assert look(str(tmp_path / "nothing"), numbered=True) is None


@pytest.mark.parametrize(
    ("on", "event", "size", "writing", "age", "settle", "waits"),
    [
        ("close_write", "close_write", 5, False, 0.0, 0.0, None),
        ("close_write", "close_write", 5, None, 0.0, 0.0, None),
        ("close_write", "close_write", 5, True, 99.0, 0.0, 1.0),
        ("close_write", "close_write", 0, False, 0.0, 0.0, 1.0),
        ("close_write", "close_write", 0, False, 2.0, 0.0, None),
        ("moved_to", "moved_to", 0, False, 0.0, 0.0, None),
        ("close_write", "found", 5, False, 0.0, 0.0, None),
        ("close_write", "found", 5, None, 4.0, 0.0, 6.0),
        ("moved_to", "found", 5, None, 11.0, 0.0, None),
        ("close_write", "close_write", 5, False, 1.0, 3.0, 2.0),
    ],
)
def test_a_file_is_complete_by_what_told_of_it_and_by_being_left_alone(
    on: str,
    event: str,
    size: int,
    writing: bool | None,
    age: float,
    settle: float,
    waits: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finding, "age", lambda found: age)
    ready = Readiness(Plan(Path("/in"), on=on, settle=settle), Teller("json", "/in", "in"))
    found = Found("identity", size, 0.0, writing)
    wait = ready.wait_of("file", "/in/file", found, event)
    assert wait == (None if waits is None else pytest.approx(waits, abs=0.01))


def test_a_file_of_a_clock_that_is_ahead_is_complete_once_we_saw_it_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finding, "age", lambda found: 0.0)
    now = [100.0]
    plan = Plan(Path("/in"), settle=5.0)
    ready = Readiness(plan, Teller("json", "/in", "in"), clock=lambda: now[0])
    found = Found("identity", 5, 0.0, False)
    assert ready.wait_of("file", "/in/file", found, "close_write") == 5.0
    now[0] += 3
    assert ready.wait_of("file", "/in/file", found, "close_write") == 2.0
    changed = found._replace(identity="another")
    assert ready.wait_of("file", "/in/file", changed, "close_write") == 5.0
    now[0] += 5
    assert ready.wait_of("file", "/in/file", changed, "close_write") is None


def test_what_an_event_told_of_before_the_first_listing_came_to_it_is_new() -> None:
    old = _Old()
    assert not old.hides("early", new=True)
    assert not old.hides("early", new=False)
    assert old.hides("there", new=False)
    old.is_complete = True
    assert old.hides("there", new=False)
    assert not old.hides("later", new=False)
    assert not old.hides("there", new=True)
    assert not old.hides("there", new=False)
