"""What both kernel backends do in the kernel's own troubles: overflow, replacement, mounts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roundtrip.errors import ShareError
from roundtrip.watch.fanotify import FanotifyWatcher
from roundtrip.watch.inotify import InotifyWatcher
from roundtrip.watch.port import Event, Kind
from tests.watch.conftest import Mounter
from tests.watch.recorder import Recorder

CREATED = frozenset({Kind.CREATED})
RESCAN = Event("in", "", Kind.RESCAN)
GONE = Event("in", "", Kind.GONE)

Watcher = InotifyWatcher | FanotifyWatcher
BACKENDS: dict[str, type[Watcher]] = {"inotify": InotifyWatcher, "fanotify": FanotifyWatcher}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def watcher(backend: str, recorder: Recorder) -> AsyncIterator[Watcher]:
    made = BACKENDS[backend](recorder.deliver)
    yield made
    made.close()


def held_once(watcher: Watcher) -> bool:
    """Whether the kernel holds one watch. A mark goes by its path, so fanotify's may be more."""
    if isinstance(watcher, FanotifyWatcher):
        return True
    return Path(f"/proc/self/fdinfo/{watcher._fd}").read_text().count("inotify wd:") == 1


@pytest.fixture
def queue_limit(backend: str) -> int:
    return int(Path(f"/proc/sys/fs/{backend}/max_queued_events").read_text())


async def test_after_an_overflow_every_folder_is_rescanned(
    watcher: Watcher, recorder: Recorder, folder: Path, queue_limit: int
) -> None:
    quiet = folder.parent / "quiet"
    quiet.mkdir()
    watcher.add("in", folder, CREATED)
    watcher.add("quiet", quiet, CREATED)
    for number in range(queue_limit + 100):
        os.mkdir(folder / str(number)) if number % 2 else os.mknod(folder / str(number))
    await recorder.until(RESCAN, Event("quiet", "", Kind.RESCAN))
    recorder.clear()
    os.mknod(folder / "after")
    os.mknod(quiet / "after")
    await recorder.until(Event("in", "after", Kind.CREATED), Event("quiet", "after", Kind.CREATED))


async def test_a_folder_replaced_during_an_overflow_is_watched_again(
    watcher: Watcher, recorder: Recorder, folder: Path, queue_limit: int
) -> None:
    """The notice that the watch is dead is itself among the events that are lost."""
    other = folder.parent / "other"
    other.mkdir()
    watcher.add("in", folder, CREATED)
    watcher.add("other", other, CREATED)
    for number in range(queue_limit + 1):
        os.mknod(other / str(number))
    folder.rmdir()
    folder.mkdir()
    await recorder.until(RESCAN)
    os.mknod(folder / "after")
    await recorder.until(Event("in", "after", Kind.CREATED))


async def test_a_folder_deleted_and_made_again_at_once_is_never_gone(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    watcher.add("in", folder, CREATED)
    folder.rmdir()
    folder.mkdir()
    await recorder.until(RESCAN)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert GONE not in recorder.events


async def test_a_folder_renamed_away_and_replaced_reports_only_the_new_one(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    watcher.add("in", folder, CREATED)
    elsewhere = folder.rename(folder.parent / "elsewhere")
    folder.mkdir()
    (elsewhere / "stray-unread").touch()
    await recorder.until(RESCAN)
    (elsewhere / "stray").touch()
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.names(Kind.CREATED) == ["order"]
    assert held_once(watcher)


async def test_a_folder_renamed_away_and_back_is_still_watched(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    watcher.add("in", folder, CREATED)
    folder.rename(folder.parent / "elsewhere").rename(folder)
    await recorder.until(RESCAN)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert held_once(watcher)


async def test_a_mount_over_the_parent_hides_the_folder_until_it_ends(
    watcher: Watcher, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    watcher.add("in", folder, CREATED)
    unmount = mount(folder.parent)
    await recorder.until(GONE)
    unmount()
    await recorder.until(RESCAN)


async def test_a_watched_mount_that_is_unmounted_shows_what_was_below(
    watcher: Watcher, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    unmount = mount(folder)
    watcher.add("in", folder, CREATED)
    unmount()
    await recorder.until(RESCAN)
    (folder / "below").touch()
    await recorder.until(Event("in", "below", Kind.CREATED))


async def test_a_mount_elsewhere_disturbs_nobody(
    watcher: Watcher, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    watcher.add("in", folder, CREATED)
    mount(elsewhere)()
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.events == [Event("in", "order", Kind.CREATED)]


async def test_check_finds_a_folder_removed_while_it_was_held_open(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    """The kernel tells of the deletion when the last one lets go of the folder, not before."""
    watcher.add("in", folder, CREATED)
    held = os.open(folder, os.O_RDONLY)
    folder.rmdir()
    folder.mkdir()
    watcher.check()
    os.close(held)
    assert recorder.events == [RESCAN]
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.events == [RESCAN, Event("in", "order", Kind.CREATED)]


async def test_check_says_nothing_while_all_is_well(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    watcher.add("in", folder, CREATED)
    watcher.check()
    assert recorder.events == []


async def test_one_folder_under_two_keys_is_refused_and_the_first_stays_as_it_was(
    watcher: Watcher, recorder: Recorder, folder: Path
) -> None:
    watcher.add("in", folder, CREATED)
    alias = folder.parent / "alias"
    alias.symlink_to(folder)
    with pytest.raises(ShareError, match="it is the same folder as"):
        watcher.add("again", alias, frozenset({Kind.REMOVED}))
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))


async def test_close_gives_every_descriptor_back(
    backend: str, recorder: Recorder, folder: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watcher = BACKENDS[backend](recorder.deliver)
    watcher.add("in", folder, CREATED)
    watcher.close()
    assert len(os.listdir("/proc/self/fd")) == before
    # on the same numbers, which the loop must have let go
    again = BACKENDS[backend](recorder.deliver)
    again.add("in", folder, CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    again.close()
