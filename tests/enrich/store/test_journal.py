"""What was put a moment before a kill is there after it, without a commit."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.store import commits
from roundtrip.enrich.store.journal import Journal, Note, notes
from roundtrip.enrich.store.sqlite import SqliteStore

NOTES = st.lists(
    st.builds(
        Note,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.binary(max_size=20),
        st.binary(max_size=50),
    ),
    max_size=8,
)


def written(folder: Path, found: list[Note]) -> bytes:
    journal = Journal(folder / "ledger.sqlite")
    journal.open()
    for note in found:
        journal.note(*note)
    content = (folder / "ledger.sqlite-notes0").read_bytes()
    journal.close()
    return content


@given(NOTES)
def test_notes_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, found: list[Note]
) -> None:
    assert list(notes(written(tmp_path_factory.mktemp("j"), found))) == found


@given(NOTES, st.integers(0, 400))
def test_a_torn_end_costs_only_the_note_that_is_torn(
    tmp_path_factory: pytest.TempPathFactory, found: list[Note], size: int
) -> None:
    content = written(tmp_path_factory.mktemp("j"), found)[:size]
    back = list(notes(content))
    assert back == found[: len(back)]
    assert len(list(notes(content + b"rubbish" * 5))) >= len(back)


@given(st.binary(max_size=200))
def test_rubbish_is_no_note(content: bytes) -> None:
    list(notes(content))


def test_a_batch_that_is_on_disk_is_not_noted_any_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "l")
    journal.open()
    journal.note("a", b"1", b"x")
    journal.swap()
    journal.note("a", b"2", b"y")
    journal.written()
    journal.close()
    assert Journal(tmp_path / "l").open() == [Note("a", b"2", b"y")]


def test_a_disk_that_is_full_for_a_while_hides_no_later_note(tmp_path: Path) -> None:
    """Half a line is taken back. RLIMIT_FSIZE stands for the disk (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal(tmp_path / "l")
    journal.open()
    try:
        journal.note("a", b"1", b"x")
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
        journal.note("a", b"2", b"y" * 100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.note("a", b"3", b"z")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
        journal.close()
    assert [note.key for note in Journal(tmp_path / "l").open()] == [b"1", b"3"]


PUT_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from roundtrip.enrich.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    for number in range(50):
        store.ledger.put("N", b"key%d" % number, b"answer")
    os.kill(os.getpid(), signal.SIGKILL)  # the loop has had no turn: nothing is committed

asyncio.run(main())
"""


async def test_answers_that_were_put_are_there_after_a_kill_before_any_commit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.sqlite"
    died = subprocess.run([sys.executable, "-c", PUT_AND_DIE, str(path)], check=False)
    assert died.returncode == -signal.SIGKILL
    for _ in range(2):  # the second time they are in the ledger itself
        store = SqliteStore(path)
        await store.open()
        found = [store.ledger.get("N", b"key%d" % number) for number in range(50)]
        await store.aclose()
        assert found == [b"answer"] * 50
        assert not list(tmp_path.glob("*-notes*"))


async def test_commits_keep_their_distance_unless_somebody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "SPACING", 3600.0)
    store = SqliteStore(tmp_path / "ledger.sqlite")
    await store.open()
    for number in range(3):
        store.ledger.put("N", b"%d" % number, b"x")
        await store.durable()  # would never return otherwise
    await store.aclose()
