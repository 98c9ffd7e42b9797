"""What all backends promise alike: whoever uses one can use another."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from roundtrip.errors import ShareError
from roundtrip.watch.fanotify import FanotifyWatcher
from roundtrip.watch.inotify import InotifyWatcher
from roundtrip.watch.poll import PollWatcher
from roundtrip.watch.port import Event, Kind, Watcher
from tests.watch.conftest import Mounter
from tests.watch.recorder import Recorder

RESCAN = Event("in", "", Kind.RESCAN)
GONE = Event("in", "", Kind.GONE)


@pytest.fixture(params=["inotify", "fanotify", "poll"])
async def watcher(request: pytest.FixtureRequest, recorder: Recorder) -> AsyncIterator[Watcher]:
    made: Watcher
    if request.param == "inotify":
        made = InotifyWatcher(recorder.deliver)
    elif request.param == "fanotify":
        made = FanotifyWatcher(recorder.deliver)
    else:
        made = PollWatcher(recorder.deliver, interval=0.02)
    assert made.backend == request.param
    yield made
    made.close()


@pytest.fixture
def watching(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> Callable[..., Awaitable[Watcher]]:
    """Adds the folder as "in" and waits until changes are seen for sure."""

    async def start(*kinds: Kind) -> Watcher:
        watcher.add("in", folder, frozenset(kinds))
        if watcher.backend == "poll":
            await recorder.until(RESCAN)
        recorder.clear()
        return watcher

    return start


Watching = Callable[..., Awaitable[Watcher]]


async def test_a_name_renamed_into_place_appears(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.APPEARED)
    (folder.parent / "ready").write_text("all of it")
    (folder.parent / "ready").rename(folder / "order.done")
    await recorder.until(Event("in", "order.done", Kind.APPEARED))
    assert recorder.events == [Event("in", "order.done", Kind.APPEARED)]


async def test_a_file_made_in_place_is_created(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.CREATED)
    (folder / "order.done").touch()
    await recorder.until(Event("in", "order.done", Kind.CREATED))
    assert recorder.kinds() == {Kind.CREATED}


async def test_a_written_file_is_closed_only_after_the_writing(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.CLOSED)
    (folder / "orders.csv").write_text("id,ip\n")
    await recorder.until(Event("in", "orders.csv", Kind.CLOSED))
    assert recorder.kinds() == {Kind.CLOSED}


async def test_a_file_written_again_is_closed_again(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.CLOSED)
    (folder / "orders.csv").write_text("id,ip\n")
    await recorder.until(Event("in", "orders.csv", Kind.CLOSED))
    recorder.clear()
    with open(folder / "orders.csv", "a") as orders:
        orders.write("1,192.0.2.1\n")
    await recorder.until(Event("in", "orders.csv", Kind.CLOSED))


@pytest.mark.parametrize(
    "remove", [Path.unlink, lambda path: path.rename(path.parent.parent / "x")]
)
async def test_a_name_deleted_or_renamed_away_is_removed(
    watching: Watching, recorder: Recorder, folder: Path, remove: Callable[[Path], None]
) -> None:
    (folder / "order").touch()
    await watching(Kind.REMOVED)
    remove(folder / "order")
    await recorder.until(Event("in", "order", Kind.REMOVED))
    assert recorder.events == [Event("in", "order", Kind.REMOVED)]


@pytest.mark.parametrize("by", ["making it", "moving it in"])
async def test_a_sub_folder_is_told_from_a_file(
    watching: Watching, recorder: Recorder, folder: Path, by: str
) -> None:
    await watching(Kind.FOLDER, Kind.APPEARED, Kind.CREATED)
    if by == "making it":
        (folder / "ip-intel").mkdir()
    else:
        (folder.parent / "ip-intel").mkdir()
        (folder.parent / "ip-intel").rename(folder / "ip-intel")
    await recorder.until(Event("in", "ip-intel", Kind.FOLDER))
    assert recorder.events == [Event("in", "ip-intel", Kind.FOLDER)]


async def test_a_sub_folder_is_no_new_file_for_who_asks_only_for_files(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.APPEARED, Kind.CREATED)
    (folder / "ip-intel").mkdir()
    (folder.parent / "order").touch()
    (folder.parent / "order").rename(folder / "order")
    await recorder.until(Event("in", "order", Kind.APPEARED))
    assert recorder.events == [Event("in", "order", Kind.APPEARED)]


async def test_a_name_that_is_not_utf_8_names_the_same_file(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.APPEARED)
    source, raw = folder.parent / "order", b"\xff\xfe caf\xe9\n.csv"
    source.touch()
    os.rename(source, os.path.join(os.fsencode(folder), raw))
    await recorder.until(Event("in", os.fsdecode(raw), Kind.APPEARED))
    assert (folder / recorder.names(Kind.APPEARED)[0]).exists()


async def test_names_that_were_there_before_are_not_reported(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    (folder / "old").touch()
    await watching(Kind.APPEARED)
    (folder.parent / "new").touch()
    (folder.parent / "new").rename(folder / "new")
    await recorder.until(Event("in", "new", Kind.APPEARED))
    assert recorder.names(Kind.APPEARED) == ["new"]


async def test_each_folder_is_reported_under_its_own_key(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    watcher = await watching(Kind.CREATED)
    (folder / "sub").mkdir()
    watcher.add("sub", folder / "sub", frozenset({Kind.CREATED}))
    if watcher.backend == "poll":
        await recorder.until(Event("sub", "", Kind.RESCAN))
    (folder / "a").touch()
    (folder / "sub" / "b").touch()
    await recorder.until(Event("in", "a", Kind.CREATED), Event("sub", "b", Kind.CREATED))


async def test_a_folder_that_was_removed_from_the_watch_is_silent(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    watcher = await watching(Kind.CREATED)
    (folder / "sub").mkdir()
    watcher.add("sub", folder / "sub", frozenset({Kind.CREATED}))
    if watcher.backend == "poll":
        await recorder.until(Event("sub", "", Kind.RESCAN))
    (folder / "too-late").touch()
    watcher.remove("in")
    watcher.remove("in")
    (folder / "later").touch()
    (folder / "sub" / "b").touch()
    await recorder.until(Event("sub", "b", Kind.CREATED))
    assert {event.folder for event in recorder.events} == {"sub"}


async def test_a_folder_removed_from_the_watch_can_be_added_again(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    watcher = await watching(Kind.REMOVED)
    watcher.remove("in")
    await watching(Kind.CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))


async def test_a_missing_folder_is_refused_with_its_path(watcher: Watcher, tmp_path: Path) -> None:
    with pytest.raises(ShareError, match=r"/nowhere can't be watched: there is no such folder"):
        watcher.add("in", tmp_path / "nowhere", frozenset({Kind.APPEARED}))


async def test_a_file_is_refused(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShareError, match=r"/file can't be watched: it is not a folder"):
        watcher.add("in", tmp_path / "file", frozenset({Kind.APPEARED}))


async def test_a_key_can_not_be_added_twice(watching: Watching, folder: Path) -> None:
    watcher = await watching(Kind.APPEARED)
    with pytest.raises(ShareError, match="'in' is watched already"):
        watcher.add("in", folder.parent, frozenset({Kind.APPEARED}))


async def test_a_deleted_folder_is_gone_and_rescanned_when_it_is_back(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.CREATED)
    folder.rmdir()
    await recorder.until(GONE)
    folder.mkdir()
    await recorder.until(RESCAN)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.events.count(GONE) == recorder.events.count(RESCAN) == 1


async def test_a_folder_renamed_away_is_gone_and_what_happens_in_it_is_not_reported(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    await watching(Kind.CREATED)
    folder.rename(folder.parent / "elsewhere")
    await recorder.until(GONE)
    (folder.parent / "elsewhere" / "stray").touch()
    folder.mkdir()
    await recorder.until(RESCAN)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.names(Kind.CREATED) == ["order"]


async def test_a_mount_placed_on_top_and_its_end_are_rescanned(
    watching: Watching, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    await watching(Kind.CREATED)
    unmount = mount(folder)
    await recorder.until(RESCAN)
    recorder.clear()
    (folder / "on-the-mount").touch()
    await recorder.until(Event("in", "on-the-mount", Kind.CREATED))
    recorder.clear()
    unmount()
    await recorder.until(RESCAN)
    recorder.clear()
    (folder / "below").touch()
    await recorder.until(Event("in", "below", Kind.CREATED))
    assert GONE not in recorder.events


async def test_nothing_comes_after_close(
    watching: Watching, recorder: Recorder, folder: Path
) -> None:
    watcher = await watching(Kind.CREATED)
    (folder / "order").touch()
    watcher.close()
    watcher.close()
    shutil.rmtree(folder)
    other = Recorder()
    second = PollWatcher(other.deliver, interval=0.01)
    second.add("parent", folder.parent, frozenset())
    await other.until(Event("parent", "", Kind.RESCAN))
    second.close()
    assert recorder.events == []
