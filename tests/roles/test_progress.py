"""Progress files: how often they are written, when they go, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import time
from collections.abc import Callable

import pytest

from roundtrip.enrich.results import Progress, Stats
from roundtrip.protocol.progress import ProgressNote, progress_name, split_progress
from roundtrip.roles import progress as module
from roundtrip.roles.progress import ProgressFiles, newest_notes, read_note
from roundtrip.shares.memory import MemoryDisk

NAME = "orders.csv"
SHORT = 0.02  # seconds


def at(done: float, waiting: str | None = None) -> Progress:
    return Progress(done, Stats(records=int(done * 100)), waiting)


class Share:
    """Enriched on a disk in memory that notes each change."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.disk.guard = self._guard
        self.folder = self.disk.folder("enriched")
        self.progress = ProgressFiles(self.folder)
        self.operations: list[str] = []
        self.changed = asyncio.Event()
        self.broken = False

    async def _guard(self, moment: str, operation: str) -> None:
        await asyncio.sleep(0)
        if moment == "before" and self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if moment == "after":
            self.operations.append(operation.split()[0])
            self.changed.set()

    @property
    def files(self) -> dict[str, bytes]:
        return self.disk.files["enriched"]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a change has made the condition true."""
        while not condition():
            await asyncio.wait_for(self.changed.wait(), 10)
            self.changed.clear()

    def shown(self) -> list[float]:
        """How far the files that readers see say that their exchanges are."""
        seen = [content for name, content in self.files.items() if split_progress(name)]
        return [json.loads(content)["done"] for content in seen if content]


@pytest.fixture
def share() -> Share:
    return Share()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", SHORT)


async def test_a_short_exchange_costs_nothing(share: Share) -> None:
    async with share.progress.reporter(NAME) as reporter:
        for step in range(100):
            reporter.report(at(step / 100))
            await asyncio.sleep(0)
    assert share.operations == []


async def test_a_long_exchange_shows_the_newest_only_and_nothing_once_it_is_over(
    share: Share, quick: None
) -> None:
    async with share.progress.reporter(NAME) as reporter:
        for done in (0.1, 0.2, 0.3):
            reporter.report(at(done))
            await share.until(lambda done=done: share.shown() == [done])
        [name] = share.files
        note = ProgressNote.decode(share.files[name], NAME)
        assert note is not None
        assert (note.records, note.waiting) == (30, None)
        assert note.seconds > 0
    assert share.files == {}


async def test_what_is_reported_while_a_file_is_written_is_shown_next(
    share: Share, quick: None
) -> None:
    async with share.progress.reporter(NAME) as reporter:
        reporter.report(at(0.1))
        await share.until(lambda: share.operations)
        assert share.shown() == [], "it is being written"
        reporter.report(at(0.2))
        await share.until(lambda: share.shown() == [0.2])


@pytest.mark.parametrize("operation", ["remove", "put"])
async def test_a_file_that_is_left_by_a_cancelled_exchange_goes_with_the_next_sweep(
    operation: str, share: Share, quick: None
) -> None:
    """The share hangs while it is removed, or while another one is written."""
    hangs, goes_on = asyncio.Event(), asyncio.Event()

    async def hang(moment: str, what: str) -> None:
        if moment == "before" and (what.startswith("remove") == (operation == "remove")):
            hangs.set()
            await goes_on.wait()

    async def exchange() -> None:
        async with share.progress.reporter(NAME) as reporter:
            reporter.report(at(0.1))
            await share.until(lambda: share.shown() == [0.1])
            share.disk.guard = hang
            if operation == "put":
                reporter.report(at(0.2))
                await hangs.wait()

    task = asyncio.create_task(exchange())
    await hangs.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    goes_on.set()
    while len(asyncio.all_tasks()) > 1:  # what was being written is written
        await asyncio.sleep(0)
    await share.progress.sweep(await share.folder.names())
    assert share.files == {}


async def test_there_is_a_pause_between_two_files(share: Share) -> None:
    now = 1000.0
    share.progress.clock = lambda: now
    async with share.progress.reporter(NAME) as reporter:
        now += module.PAUSE
        reporter.report(at(0.1))
        await share.until(lambda: share.shown() == [0.1])
        written = len(share.operations)
        for step in range(100):
            reporter.report(at(step / 100))
            await asyncio.sleep(0)
        assert len(share.operations) == written


async def test_what_has_not_changed_is_not_written_again(share: Share, quick: None) -> None:
    async with share.progress.reporter(NAME) as reporter:
        reporter.report(at(0.1, "the quota is spent"))
        await share.until(share.shown)
        await asyncio.sleep(0.01)
        written = len(share.operations)
        for _ in range(5):
            reporter.report(at(0.1, "the quota is spent"))
            await asyncio.sleep(SHORT)
        assert len(share.operations) == written
        assert share.progress.waiting == {NAME}
    assert share.progress.waiting == set()


async def test_the_file_goes_however_the_exchange_ends(share: Share, quick: None) -> None:
    async def enrich() -> None:
        async with share.progress.reporter(NAME) as reporter:
            reporter.report(at(0.1))
            await asyncio.Event().wait()

    task = asyncio.create_task(enrich())
    await share.until(share.shown)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert share.files == {}


async def test_the_file_that_is_being_written_at_the_end_goes_as_well(
    share: Share, quick: None
) -> None:
    async with share.progress.reporter(NAME) as reporter:
        reporter.report(at(0.1))
        await share.until(lambda: share.operations)
        reporter.report(at(0.2))
    assert share.operations[-1] == "remove"
    await asyncio.sleep(2 * SHORT)
    assert share.files == {}


async def test_a_share_that_can_t_be_written_is_told_once_and_changes_nothing(
    share: Share, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    share.broken = True
    with caplog.at_level(logging.WARNING):
        async with share.progress.reporter(NAME) as reporter:
            for done in (0.1, 0.2, 0.3):
                reporter.report(at(done))
                await asyncio.sleep(2 * SHORT)
            share.broken = False
            reporter.report(at(0.4))
            await share.until(lambda: share.shown() == [0.4])
    assert [record.message for record in caplog.records] == ["progress not shown"]
    assert share.files == {}


async def test_a_sweep_takes_what_an_earlier_life_left_and_nothing_of_this_one(
    share: Share, quick: None
) -> None:
    left = [progress_name(NAME, 7), progress_name("other.csv", 8)]
    share.files.update(dict.fromkeys(left, b""))
    async with share.progress.reporter(NAME) as reporter:
        reporter.report(at(0.1))
        await share.until(lambda: 0.1 in share.shown())
        await share.progress.sweep(list(share.files))
        [name] = share.files
        assert name not in left


async def test_a_sweep_that_fails_is_no_error(
    share: Share, caplog: pytest.LogCaptureFixture
) -> None:
    left = progress_name(NAME, 7)
    share.files[left] = b""
    share.broken = True
    await share.progress.sweep([left])
    assert left in share.files
    assert "progress not shown" in caplog.text


async def test_a_clock_that_is_set_back_makes_no_older_numbers(
    share: Share, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [await share.progress.write(ProgressNote(NAME, 0.1))]
    monkeypatch.setattr(time, "time", lambda: 1.0)
    names.append(await share.progress.write(ProgressNote(NAME, 0.2)))
    found = await newest_notes(share.folder, share.files, {NAME})
    assert found[NAME].done == 0.2
    assert len(set(names)) == 2


async def test_the_newest_of_each_wanted_exchange_is_read(share: Share) -> None:
    for number, (exchange, done) in enumerate([("a", 0.1), ("b", 0.2), ("a", 0.3), ("c", 0.4)], 9):
        note = ProgressNote(exchange, done)
        share.files[progress_name(exchange, number)] = note.encode()
    share.files[progress_name("b", 99)] = b"not by us"
    found = await newest_notes(share.folder, ["a", "a.done", *share.files], {"a", "b"})
    assert {exchange: note.done for exchange, note in found.items()} == {"a": 0.3}


async def test_a_file_that_has_just_gone_is_none(share: Share) -> None:
    assert await read_note(share.folder, progress_name(NAME, 7)) is None
    assert await read_note(share.folder, "orders.csv") is None
