"""What may go from archive, failed, quarantine and outcomes, and what must stay."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.protocol.names import Namer, created_of
from roundtrip.roles import retention
from roundtrip.roles.cleaning import Cleaner, Shelf, drop_leftovers, requester_shelves
from roundtrip.roles.desk import Desk
from roundtrip.roles.retention import (
    Bounds,
    Group,
    Stock,
    failures,
    originals,
    overdue,
    records,
    stock,
)
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Listed
from roundtrip.shares.posix import PosixFolder

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
NANO = 1_000_000_000
FOLDERS = ("submit", "pending", "collected", "closing", "tickets", "outcomes", "inbox", "failed",
           "archive")  # fmt: skip


def listed(name: str, age: float, size: int = 10, placed: float | None = None) -> Listed:
    """A file whose content is `age` seconds old, and which came `placed` seconds ago."""
    came = age if placed is None else placed
    return Listed(name, size, int((NOW - age) * NANO), int((NOW - came) * NANO))


def named(age: float, slug: str = "x.csv") -> str:
    """An exchange that was made `age` seconds ago."""
    return Namer(lambda: NOW - age)(slug)


def gone(files: Iterable[Listed], bounds: Bounds, arrange: retention.Arrange = records,
         needed: frozenset[str] = frozenset()) -> list[str]:  # fmt: skip
    """The names that would be removed, in order."""
    doomed = overdue(stock(files, arrange, needed), bounds, NOW)
    return [file.name for group in doomed for file in group.files]


class Case(NamedTuple):
    what: str
    files: list[Listed]
    bounds: Bounds
    gone: list[str]


CASES = [
    Case("no bound", [listed("a.json", 999 * DAY)], Bounds(), []),
    Case("younger than keep", [listed("a.json", DAY - 1)], Bounds(keep=DAY), []),
    Case("older than keep", [listed("a.json", DAY + 1)], Bounds(keep=DAY), ["a.json"]),
    Case("within size", [listed("a.json", DAY, 10)], Bounds(size=10), []),
    Case(
        "the oldest of too much",
        [listed("new.json", HOUR, 6), listed("old.json", DAY, 6), listed("older.json", 2 * DAY, 6)],
        Bounds(size=12),
        ["older.json"],
    ),
    Case(
        "just as many as needed, in order of age",
        [listed(f"{age}.json", age * HOUR, 5) for age in (3, 1, 4, 2)],
        Bounds(size=10),
        ["4.json", "3.json"],
    ),
    Case("fresh, though too much", [listed("a.json", 1, 99)], Bounds(size=0), []),
    Case("fresh, though too old", [listed("a.json", 1)], Bounds(keep=0.5), []),
    Case("from a clock set back", [listed("a.json", -DAY, 99)], Bounds(size=1), ["a.json"]),
    Case("from a clock set back, by age", [listed("a.json", -DAY)], Bounds(keep=1.0), []),
    Case("in flight", [listed(".a.json.0123abcd.part", DAY)], Bounds(keep=1.0), []),
    Case("no record", [listed("notes.txt", DAY)], Bounds(keep=1.0), []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_old_files_go_when_a_bound_says_so(case: Case) -> None:
    assert gone(case.files, case.bounds) == case.gone


def test_an_archived_original_is_as_old_as_its_name_says() -> None:
    old, new = named(3 * DAY), named(HOUR)
    files = [listed(old, 0, placed=0), listed(new, 999 * DAY, placed=999 * DAY)]
    assert gone(files, Bounds(keep=2 * DAY), originals) == [old]


def test_another_programs_original_is_as_old_as_its_place_in_the_archive() -> None:
    files = [listed("orders.csv", 999 * DAY, placed=HOUR), listed("b.csv", HOUR, placed=9 * DAY)]
    assert gone(files, Bounds(keep=2 * DAY), originals) == ["b.csv"]


def test_files_in_the_archive_that_can_be_no_exchange_are_left_alone() -> None:
    files = [listed("by hand.csv", 9 * DAY), listed(".hidden", 9 * DAY)]
    assert gone(files, Bounds(keep=1.0, size=0), originals) == []


def test_a_failed_original_goes_with_its_document_and_by_the_documents_age() -> None:
    files = [
        listed("a.csv", 999 * DAY, placed=HOUR),  # its producer kept an old time
        listed("a.csv.problem.json", HOUR),
        listed("b.csv.problem.json", 3 * DAY),
        listed("b.csv", HOUR, placed=HOUR),
    ]
    assert gone(files, Bounds(keep=2 * DAY), failures) == ["b.csv", "b.csv.problem.json"]


def test_a_failed_original_without_a_document_is_as_old_as_its_place() -> None:
    files = [listed("a.csv", 999 * DAY, placed=HOUR), listed("b.csv", 0, placed=3 * DAY)]
    assert gone(files, Bounds(keep=2 * DAY), failures) == ["b.csv"]


def test_what_is_needed_stays_however_old_and_counts_as_size() -> None:
    files = [listed("open.csv.json", 9 * DAY, 50), listed("over.csv.json", DAY, 50)]
    needed = frozenset({"open.csv"})
    assert gone(files, Bounds(keep=HOUR), needed=needed) == ["over.csv.json"]
    assert gone(files, Bounds(size=50), needed=needed) == ["over.csv.json"]


def test_only_the_oldest_are_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST", 3)
    found = stock((listed(f"{age}.json", age * HOUR) for age in range(1, 100)), records, ())
    assert [group.files[0].name for group in found.oldest] == ["99.json", "98.json", "97.json"]
    assert found.size == 990


SIZES = st.integers(0, 1000)
AGES = st.floats(-DAY, 30 * DAY)
STOCKS = st.lists(st.tuples(AGES, SIZES), max_size=30)
BOUNDS = st.builds(Bounds, st.none() | st.floats(1.0, 20 * DAY), st.none() | st.integers(0, 5000))


@given(STOCKS, BOUNDS)
def test_what_stays_is_within_the_bounds_or_fresh_and_nothing_goes_without_need(
    ages: list[tuple[float, int]], bounds: Bounds
) -> None:
    groups = [
        Group(NOW - age, (listed(f"{number}", age, size),))
        for number, (age, size) in enumerate(ages)
    ]
    total = sum(group.size for group in groups)
    doomed = list(overdue(Stock(total, sorted(groups)), bounds, NOW))
    stay = [group for group in groups if group not in doomed]
    assert len(doomed) + len(stay) == len(groups), "each goes once"

    def is_fresh(group: Group) -> bool:
        return 0 <= NOW - group.since < retention.FRESH

    assert not any(is_fresh(group) for group in doomed)
    for group in stay:
        if bounds.keep is not None and not is_fresh(group):
            assert NOW - group.since <= bounds.keep
    left = sum(group.size for group in stay)
    if bounds.size is not None:
        assert left <= bounds.size or all(is_fresh(group) for group in stay)
    aged_out = [g for g in doomed if bounds.keep is not None and NOW - g.since > bounds.keep]
    for group in doomed:
        if group not in aged_out:  # It went for its size: just enough of these went.
            assert bounds.size is not None and left + doomed[-1].size > bounds.size
            assert all(group.since <= other.since or is_fresh(other) for other in stay)


# Real files


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    return Desk(**{name: PosixFolder(tmp_path / name) for name in FOLDERS})


def put(path: Path, age: float, content: bytes = b"x" * 10) -> Path:
    """A file whose content is `age` seconds old."""
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def exchange(age: float, slug: str = "x.csv") -> str:
    return Namer(lambda: time.time() - age)(slug)


async def cleaned(cleaner: Cleaner, needed: Iterable[str] = ()) -> None:
    cleaner.begin(frozenset(needed))
    await cleaner.finish()


async def test_the_folders_of_the_past_come_within_their_bounds(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new, open_ = exchange(3 * DAY), exchange(HOUR), exchange(4 * DAY)
    for name in (old, new, open_):
        put(tmp_path / "archive" / name, 99 * DAY)
    for name in ("a.csv", "b.csv"):
        put(tmp_path / "failed" / name, 999 * DAY)
    put(tmp_path / "failed/a.csv.problem.json", 5 * DAY)
    put(tmp_path / "failed/b.csv.problem.json", 2 * HOUR)
    (tmp_path / "failed/folder").mkdir()
    put(tmp_path / "outcomes/unclaimed.json", 31 * DAY)
    put(tmp_path / "outcomes/waited-for.json", 29 * DAY)
    cleaner = Cleaner(requester_shelves(desk, Bounds(keep=2 * DAY), Bounds(keep=4 * DAY)))
    caplog.set_level(logging.INFO)
    await cleaned(cleaner, needed={open_})
    assert set(os.listdir(tmp_path / "archive")) == {new, open_}
    assert set(os.listdir(tmp_path / "failed")) == {"b.csv", "b.csv.problem.json", "folder"}
    assert os.listdir(tmp_path / "outcomes") == ["waited-for.json"]
    assert cleaner.tally.removed == {"archive": 1, "failed": 2, "outcomes": 1}
    assert cleaner.tally.removed_bytes == {"archive": 10, "failed": 20, "outcomes": 10}
    told = {(r.folder, r.files, r.size) for r in caplog.records if r.message == "cleaned"}  # type: ignore[attr-defined]
    assert told == {("archive", 1, 10), ("failed", 2, 20), ("outcomes", 1, 10)}


async def test_more_than_is_considered_at_once_goes_in_several_rounds(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST", 10)
    monkeypatch.setattr("roundtrip.roles.cleaning.MOST", 10)
    names = sorted(exchange(DAY + age) for age in range(35))
    for name in names:
        put(tmp_path / "archive" / name, 0)
    await cleaned(Cleaner([Shelf("archive", desk.archive, Bounds(size=45), originals)]))  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path / "archive")) == names[-4:]


async def test_a_file_that_took_a_removed_ones_name_meanwhile_stays(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "failed/a.csv", 9 * DAY)
    put(tmp_path / "failed/a.csv.problem.json", 9 * DAY)
    decided = retention.overdue

    def replaced(found: Stock, bounds: Bounds, now: float) -> list[Group]:
        doomed = list(decided(found, bounds, now))
        path.unlink()
        path.write_bytes(b"another original, just failed")
        return doomed

    monkeypatch.setattr("roundtrip.roles.cleaning.overdue", replaced)
    await cleaned(Cleaner([Shelf("failed", desk.failed, Bounds(keep=DAY), failures)]))
    assert path.read_bytes() == b"another original, just failed"


async def test_a_folder_without_bounds_is_not_even_listed(desk: Desk) -> None:
    class Untouched:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was asked for")

    await cleaned(Cleaner([Shelf("archive", Untouched(), Bounds(), originals)]))  # type: ignore[arg-type]


async def test_a_life_that_follows_soon_does_not_list_everything_again(
    desk: Desk, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    stamp = PosixFolder(tmp_path / "state"), "cleaned-a"
    shelf = Shelf("failed", desk.failed, Bounds(keep=DAY), failures)
    await cleaned(Cleaner([shelf], stamp))
    put(tmp_path / "failed/a.csv.problem.json", 9 * DAY)
    await cleaned(Cleaner([shelf], stamp))
    assert os.listdir(tmp_path / "failed") == ["a.csv.problem.json"]
    put(tmp_path / "state/cleaned-a", HOUR)
    await cleaned(Cleaner([shelf], stamp))
    assert os.listdir(tmp_path / "failed") == []


async def test_a_folder_that_fails_is_told_in_one_line(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.failed.close()  # type: ignore[attr-defined]
    await cleaned(Cleaner([Shelf("failed", desk.failed, Bounds(keep=DAY), failures)]))
    (line,) = [record for record in caplog.records if record.message == "not cleaned"]
    assert line.exc_info is None


async def test_an_end_in_the_middle_leaves_the_rest_for_the_next_time(
    desk: Desk, tmp_path: Path
) -> None:
    for number in range(3000):
        (tmp_path / "archive" / exchange(DAY + number)).touch()
    cleaner = Cleaner([Shelf("archive", desk.archive, Bounds(keep=HOUR), originals)])  # type: ignore[arg-type]
    cleaner.begin(())
    archive = tmp_path / "archive"
    while len(os.listdir(archive)) == 3000:
        await asyncio.sleep(0)
    cleaner.stop()
    await cleaner.finish()
    left = os.listdir(archive)
    assert 0 < len(left) < 3000
    await cleaned(Cleaner([Shelf("archive", desk.archive, Bounds(keep=HOUR), originals)]))  # type: ignore[arg-type]
    assert os.listdir(archive) == []


def test_cleaning_is_due_at_the_start_and_then_hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaner, now = Cleaner(), time.monotonic()
    assert cleaner.is_due() and not cleaner.is_due()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3599)
    assert not cleaner.is_due()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3601)
    assert cleaner.is_due() and not cleaner.is_due()


# What a killed life left


def ticket(folder: Path, name: str, *, reply: bool = False) -> str:
    (folder / "tickets" / f"{name}.json").write_bytes(Ticket("x.csv", reply=reply).encode())
    return f"{name}.json"


async def test_tickets_go_once_nobody_can_be_handing_in_their_original(
    desk: Desk, tmp_path: Path
) -> None:
    began = time.time()
    stay = {
        ticket(tmp_path, open_ := exchange(2 * DAY, "open")),
        ticket(tmp_path, submitted := exchange(2 * DAY, "submitted"), reply=True),
        ticket(tmp_path, taken := exchange(2 * DAY, "taken")),
        ticket(tmp_path, exchange(HOUR, "being-sent"), reply=True),
        ticket(tmp_path, exchange(-1, "being-taken")),
        "README",
    }
    (tmp_path / "tickets/README").touch()
    (tmp_path / "submit" / submitted).touch()
    (tmp_path / "pending" / taken).touch()
    ticket(tmp_path, exchange(2, "intake was killed"))
    ticket(tmp_path, exchange(2 * DAY, "send was killed"), reply=True)
    ticket(tmp_path, "foreign")
    count, size = await drop_leftovers(desk, {open_}.__contains__, began)
    assert set(os.listdir(tmp_path / "tickets")) == stay
    assert count == 3 and size > 0


async def test_copies_of_answers_that_nobody_waits_for_go(desk: Desk, tmp_path: Path) -> None:
    open_ = exchange(DAY)
    for name in (open_, f"{open_}~problem", "gone.csv", "gone.csv~problem"):
        put(tmp_path / "collected" / name, 0)
    await drop_leftovers(desk, {open_}.__contains__, time.time())
    assert set(os.listdir(tmp_path / "collected")) == {open_, f"{open_}~problem"}


async def test_parts_go_after_a_day(desk: Desk, tmp_path: Path) -> None:
    for folder in ("submit", "tickets", "outcomes"):
        put(tmp_path / folder / ".x.0123abcd.part", DAY + 60)
        put(tmp_path / folder / ".y.0123abcd.part", HOUR)
    await drop_leftovers(desk, lambda name: False, time.time())
    for folder in ("submit", "tickets", "outcomes"):
        assert os.listdir(tmp_path / folder) == [".y.0123abcd.part"]


def test_a_name_made_for_these_tests_says_its_age() -> None:
    created = created_of(named(HOUR))
    assert created == pytest.approx(NOW - HOUR)
