"""What only looking can get wrong: growing files, huge folders, folders that block."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from roundtrip.watch import poll as poll_module
from roundtrip.watch.poll import PollWatcher, View
from roundtrip.watch.port import Event, Kind
from tests.watch.recorder import Recorder

RESCAN = Event("in", "", Kind.RESCAN)
GONE = Event("in", "", Kind.GONE)


def view(folder: Path, *kinds: Kind) -> View:
    """A view that has had its first look."""
    made = View("in", folder, frozenset(kinds))
    assert made.look() == [RESCAN]
    return made


def test_a_growing_file_is_closed_once_it_stayed_alike_for_two_looks(folder: Path) -> None:
    seen = view(folder, Kind.CREATED, Kind.CLOSED)
    (folder / "orders.csv").write_text("a")
    assert seen.look() == [Event("in", "orders.csv", Kind.CREATED)]
    (folder / "orders.csv").write_text("ab")
    assert seen.look() == []
    assert seen.look() == [Event("in", "orders.csv", Kind.CLOSED)]
    assert seen.look() == []


def test_a_rewrite_of_the_same_size_is_noticed_by_its_time(folder: Path) -> None:
    seen = view(folder, Kind.CLOSED)
    (folder / "order").write_text("a")
    assert seen.look() + seen.look() == [Event("in", "order", Kind.CLOSED)]
    os.utime(folder / "order", (1, 1))
    assert seen.look() + seen.look() == [Event("in", "order", Kind.CLOSED)]


def test_a_new_file_never_appears_complete_while_it_may_still_grow(folder: Path) -> None:
    seen = view(folder, Kind.APPEARED, Kind.CLOSED)
    (folder / "order").write_text("half")
    assert seen.look() == []
    assert seen.look() == [Event("in", "order", Kind.CLOSED)]


def test_a_file_of_the_first_look_is_closed_when_it_stayed_alike(folder: Path) -> None:
    (folder / "order").write_text("a")
    seen = view(folder, Kind.CLOSED)
    assert seen.look() == [Event("in", "order", Kind.CLOSED)]


def test_a_link_or_a_pipe_is_never_closed(folder: Path) -> None:
    seen = view(folder, Kind.CREATED, Kind.CLOSED)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    assert set(seen.look()) == {
        Event("in", "pipe", Kind.CREATED),
        Event("in", "link", Kind.CREATED),
    }
    assert seen.look() + seen.look() == []


def test_an_error_while_looking_is_gone_and_then_a_rescan(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount that was cut answers EIO or ESTALE to any call."""
    seen = view(folder, Kind.CLOSED)
    (folder / "order").write_text("a")

    def cut(entry: os.DirEntry[str]) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(poll_module, "_stamp", cut)
        assert seen.look() == [GONE]
        assert seen.look() == []
    assert seen.look() == [RESCAN]
    assert seen.look() == [Event("in", "order", Kind.CLOSED)]


def test_a_folder_of_100_000_names_is_seen_in_well_under_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100_000):
        os.mknod(folder / str(number))
    seen = view(folder, Kind.APPEARED, Kind.REMOVED)
    (folder / "new").touch()
    (folder / "7").unlink()
    began = time.perf_counter()
    events = seen.look()
    took = time.perf_counter() - began
    print(f"one look at 100,000 names: {took * 1e3:.0f} ms")
    assert set(events) == {Event("in", "new", Kind.APPEARED), Event("in", "7", Kind.REMOVED)}
    assert took < 2


async def test_a_look_that_blocks_holds_up_neither_the_loop_nor_other_folders(
    poll: PollWatcher, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, over = threading.Event(), threading.Event()
    dead = folder.parent / "dead"
    dead.mkdir()
    look = View.look

    def look_or_hang(self: View) -> list[Event]:
        if self.folder == "dead":
            blocked.set()
            over.wait()
        return look(self)

    monkeypatch.setattr(View, "look", look_or_hang)
    poll.add("dead", dead, frozenset({Kind.APPEARED}))
    await asyncio.to_thread(blocked.wait)
    poll.add("in", folder, frozenset({Kind.APPEARED}))
    await recorder.until(RESCAN)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.APPEARED))
    poll.close()
    over.set()


async def test_what_was_seen_before_a_removal_is_not_told_after_it(
    poll: PollWatcher, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()
    tell = PollWatcher._tell

    def tell_and_say_so(*arguments: Any) -> None:
        tell(*arguments)
        told.set()

    monkeypatch.setattr(PollWatcher, "_tell", tell_and_say_so)
    poll.add("in", folder, frozenset({Kind.APPEARED}))
    told.wait()  # on the loop's own thread, so that it can't deliver yet
    poll.remove("in")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert recorder.events == []


async def test_a_slow_folder_is_looked_at_less_often(
    recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def slow(self: View) -> list[Event]:
        looks.append(time.monotonic())
        time.sleep(0.05)
        return [self._event(str(len(looks)), Kind.APPEARED)]

    monkeypatch.setattr(View, "look", slow)
    watcher = PollWatcher(recorder.deliver, interval=0.001)
    watcher.add("in", folder, frozenset({Kind.APPEARED}))
    await recorder.until(Event("in", "3", Kind.APPEARED))
    watcher.close()
    assert looks[2] - looks[1] >= 0.05 * (1 + poll_module.REST)


def test_a_loop_that_ended_without_close_ends_the_thread(folder: Path) -> None:
    async def forget() -> None:
        PollWatcher(lambda events: None, interval=0.001).add("in", folder, frozenset(Kind))

    asyncio.run(forget())
    (folder / "order").touch()
    for thread in threading.enumerate():
        if thread.name == "watch-in":
            thread.join(5)
            assert not thread.is_alive()
