"""The journal by itself: what is forgotten, when that is on disk, and what came since."""

from __future__ import annotations

from pathlib import Path

from roundtrip.watching.journal import DONE, Entry, Journal


def opened(state: Path) -> Journal:
    return Journal(state, "/in", "/in")


def test_a_file_is_forgotten_on_disk_one_flush_after_the_end_of_its_run(tmp_path: Path) -> None:
    """Between the two its claim is removed, which a later watch would take for a new end."""
    journal = opened(tmp_path)
    journal.add(Entry("a", "1:2:3", DONE, run=5))
    journal.forget("a")
    assert journal.get("a") is None
    journal.flush()
    assert journal.is_behind and (tmp_path / "journal").read_bytes().count(b"\n") == 2
    journal.flush()
    assert not journal.is_behind
    journal.close()
    assert opened(tmp_path).entries() == []


def test_what_came_to_a_path_since_it_was_forgotten_is_remembered(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.add(Entry("a", "1:2:3", DONE, run=5))
    journal.forget("a")
    later = Entry("a", "4:5:6", DONE, run=6)
    journal.add(later)
    journal.flush()
    journal.flush()
    journal.close()
    assert (tmp_path / "journal").read_bytes().endswith(b'{"forgotten": "a", "run": 5}\n')
    assert opened(tmp_path).entries() == [later]
