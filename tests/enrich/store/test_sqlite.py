"""The store on disk: what a restart finds, what is refused, and how it stays within its space."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from roundtrip.enrich.store import commits
from roundtrip.enrich.store.batch import MAX_BYTES, Batch
from roundtrip.enrich.store.desk import Desk
from roundtrip.enrich.store.port import Cached
from roundtrip.enrich.store.schema import open_for_reading
from roundtrip.enrich.store.sqlite import SqliteStore
from roundtrip.errors import ShareError
from tests.enrich.store.conftest import Clock


async def opened(path: Path, clock: Clock, **more: int) -> SqliteStore:
    store = SqliteStore(path, clock=clock, **more)
    await store.open()
    return store


def on_disk(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(open_for_reading(path)) as connection:
        return connection.execute(query).fetchall()


async def until(path: Path, query: str, expected: list[tuple[object, ...]]) -> None:
    """Wait for what the store does in its own time."""
    while on_disk(path, query) != expected:
        await asyncio.sleep(0.01)


async def test_a_restart_finds_everything(path: Path, clock: Clock) -> None:
    store = await opened(path, clock)
    store.ledger.put("one", b"k", b"answer")
    store.ledger.put_ticket("two", b"t", b"job")
    store.ledger.put("gone", b"k", b"answer")
    store.ledger.forget("gone")
    store.cache.put(b"c", b"cached", 10.0, step="p/geo", etag='"v"')
    await store.counters.reserve("api", "2026-05", 4)
    await store.aclose()
    store = await opened(path, clock)
    assert store.ledger.scopes() == {"one", "two"}
    assert store.ledger.holds("one") and not store.ledger.holds("two")
    assert store.ledger.get("one", b"k") == b"answer"
    assert store.ledger.ticket("two", b"t") == b"job"
    assert store.cache.get(b"c") == Cached(b"cached", True, '"v"')
    assert store.counters.spent("api", "2026-05") == 4
    store.ledger.put("new", b"k", b"another")
    assert store.ledger.get("one", b"k") == b"answer"  # scopes' numbers go on
    await store.aclose()


async def test_durable_means_that_others_read_it_from_the_file(
    sqlite: SqliteStore, path: Path
) -> None:
    sqlite.ledger.put("one", b"k", b"answer")
    assert on_disk(path, "SELECT answer FROM answers") == []
    await sqlite.durable()
    assert on_disk(path, "SELECT answer FROM answers") == [(b"answer",)]


async def test_only_the_owner_may_read_the_files(sqlite: SqliteStore, path: Path) -> None:
    sqlite.ledger.put("one", b"k", b"answer")
    await sqlite.durable()
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    names = [
        "ledger.sqlite",
        *(f"ledger.sqlite-{end}" for end in ("wal", "shm", "notes0", "notes1")),
    ]
    assert modes == dict.fromkeys(names, 0o600)


async def test_opening_twice_and_closing_twice_does_no_harm(path: Path, clock: Clock) -> None:
    store = SqliteStore(path, clock=clock)
    assert not path.exists()  # the constructor does nothing
    await asyncio.gather(store.open(), store.open())
    await store.open()
    assert len([each for each in threading.enumerate() if "ledger" in each.name]) == 1
    await store.aclose()
    await store.aclose()
    assert [each.name for each in path.parent.iterdir()] == ["ledger.sqlite"]


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def newer(path: Path) -> None:
    Desk(path, 1000).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b"no database, but long enough for one" * 100), "move it"),
        (foreign, "not a ledger of roundtrip; move it away"),
        (newer, "made by a newer roundtrip (format 2, this one knows 1)"),
        (lambda path: path.mkdir(), "can't be"),
    ],
)
async def test_a_file_that_is_no_ledger_is_refused_in_one_line(
    path: Path, clock: Clock, spoil: object, words: str
) -> None:
    assert callable(spoil)
    spoil(path)
    with pytest.raises(ShareError) as caught:
        await SqliteStore(path, clock=clock).open()
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and words in text and "\n" not in text


async def test_a_missing_folder_is_told(path: Path, clock: Clock) -> None:
    with pytest.raises(ShareError, match="can't be opened: No such file"):
        await SqliteStore(path.parent / "no" / "ledger.sqlite", clock=clock).open()


async def test_an_empty_file_left_by_a_kill_at_the_start_becomes_a_ledger(
    path: Path, clock: Clock
) -> None:
    path.touch()
    store = await opened(path, clock)
    store.ledger.put("one", b"k", b"answer")
    await store.aclose()
    assert on_disk(path, "SELECT answer FROM answers") == [(b"answer",)]


async def test_answers_of_a_forgotten_scope_leave_the_disk_in_slices(
    sqlite: SqliteStore, path: Path
) -> None:
    for number in range(1_800):
        sqlite.ledger.put("one", str(number).encode(), b"answer")
    sqlite.ledger.put_ticket("one", b"t", b"job")
    sqlite.ledger.put("two", b"k", b"kept")
    await sqlite.durable()
    sqlite.ledger.forget("one")
    await sqlite.durable()
    await until(path, "SELECT name FROM scopes", [("two",)])
    assert on_disk(path, "SELECT count(*) FROM answers") == [(1,)]
    assert on_disk(path, "SELECT count(*) FROM tickets") == [(0,)]


async def test_the_oldest_cached_answers_go_when_space_is_needed(path: Path, clock: Clock) -> None:
    store = await opened(path, clock, max_bytes=100_000)
    for number in range(200):
        store.cache.put(str(number).encode(), bytes(1000), 1e6, step="p/geo")
        if number % 20 == 0:
            await store.durable()
    await store.durable()
    assert on_disk(path, "SELECT sum(size) <= 100000, sum(size) > 90000 FROM cache") == [(1, 1)]
    assert store.cache.get(b"199") is not None
    assert store.cache.get(b"0") is None
    await store.aclose()
    store = await opened(path, clock, max_bytes=10_000)  # less space than before
    await until(path, "SELECT sum(size) <= 10000 FROM cache", [(1,)])
    assert store.cache.get(b"199") is not None
    await store.aclose()


async def test_an_answer_put_again_and_again_takes_its_space_once(path: Path, clock: Clock) -> None:
    store = await opened(path, clock, max_bytes=10_000)
    store.cache.put(b"first", bytes(1000), 1e6, step="p/geo")
    for _ in range(50):
        store.cache.put(b"k", bytes(1000), 1e6, step="p/geo")
        await store.durable()
    assert store.cache.get(b"first") is not None
    assert on_disk(path, "SELECT count(*) FROM cache") == [(2,)]
    await store.aclose()


async def test_expired_answers_leave_the_disk_but_stale_ones_with_a_tag_stay(
    sqlite: SqliteStore, path: Path, clock: Clock
) -> None:
    for number in range(1_200):
        sqlite.cache.put(str(number).encode(), b"answer", 10.0, step="p/geo")
    sqlite.cache.put(b"tagged", b"answer", 10.0, step="p/geo", etag='"v"')
    sqlite.cache.put(b"fresh", b"answer", 1000.0, step="p/geo")
    await sqlite.durable()
    clock.now += 20
    sqlite.ledger.put("one", b"k", b"")  # tidying follows a commit
    await until(path, "SELECT count(*) FROM cache", [(2,)])
    assert sqlite.cache.get(b"tagged") == Cached(b"answer", False, '"v"')


async def test_earlier_windows_of_a_counter_are_forgotten(sqlite: SqliteStore, path: Path) -> None:
    for window in ("2026-05", "2026-05-08", "2026-05-09"):
        await sqlite.counters.reserve("api", window, 1)
    await sqlite.counters.reserve("api", "2026-05-07", 1)  # a clock that was set back
    rows = on_disk(path, "SELECT period FROM counters ORDER BY period")
    assert rows == [("2026-05",), ("2026-05-07",), ("2026-05-09",)]


async def test_much_free_space_goes_back_to_the_file_system(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roundtrip.enrich.store.desk._SPARE", 10)
    store = await opened(path, clock)
    for number in range(300):
        store.ledger.put("one", str(number).encode(), bytes(10_000))
    await store.durable()
    store.ledger.forget("one")
    await until(path, "SELECT count(*) FROM scopes", [(0,)])
    await until(path, "PRAGMA freelist_count", [(10,)])
    await store.aclose()
    assert path.stat().st_size < 200_000


async def test_no_more_is_taken_than_memory_should_hold(sqlite: SqliteStore) -> None:
    assert sqlite._commits is not None
    free = threading.Event()

    def slow() -> bool:
        free.wait(10)
        return False

    disk = asyncio.create_task(sqlite._commits.do(slow))
    await asyncio.sleep(0.05)  # the thread is at it now
    await sqlite.room()
    sqlite.ledger.put("one", b"k", bytes(MAX_BYTES + 1))
    room = asyncio.create_task(sqlite.room())
    await asyncio.sleep(0.05)
    assert not room.done()
    free.set()
    await asyncio.gather(room, disk)
    assert sqlite.ledger.get("one", b"k") is not None


def test_a_batch_is_full_by_rows_too() -> None:
    batch = Batch()
    while not batch.full:
        batch.grew(0)
    assert batch.rows == 10_001


async def test_one_who_stops_waiting_takes_nothing_from_the_others(sqlite: SqliteStore) -> None:
    sqlite.ledger.put("one", b"k", b"answer")
    impatient, patient = (asyncio.create_task(sqlite.durable()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert impatient.cancelled()


async def test_a_busy_loop_stands_still_for_a_thread_that_is_long_at_work(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from the thread, so that the machine's speed doesn't matter.

    Nor may its load: with others on the processor, no loop gets nine tenths of it.
    """
    monkeypatch.setattr(commits, "BUSY", 0.0)
    assert sqlite._commits is not None
    loop_thread, seen, gave_up = threading.get_ident(), threading.Event(), threading.Event()

    def look() -> bool:
        """Whether to look again: the loop was not found waiting for us yet."""
        while not gave_up.is_set():
            frame = sys._current_frames().get(loop_thread)
            while frame is not None:
                if frame.f_code.co_name == "_help":
                    seen.set()
                    return False
                frame = frame.f_back
        return False

    job = asyncio.create_task(sqlite._commits.do(look))
    try:
        async with asyncio.timeout(60):
            while not seen.is_set():  # a loop that always has something to do
                await asyncio.sleep(0)
    finally:
        gave_up.set()
        await job
