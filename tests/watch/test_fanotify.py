"""What fanotify does otherwise than inotify, what this host allows, and trees by one mark."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roundtrip.watch import Event, Kind, Watch, WatchSettings, fanotify, fanotify_calls
from roundtrip.watch.fanotify import FanotifyWatcher, refusal
from roundtrip.watch.fanotify_calls import Bit
from roundtrip.watch.fanotify_tree import FanotifyTree, refused_filesystem
from roundtrip.watch.handles import handle_of, open_handle
from roundtrip.watch.port import NoRoom
from tests.watch.conftest import Mounter
from tests.watch.recorder import Recorder

CREATED = frozenset({Kind.CREATED})
ALL = frozenset({Kind.CREATED, Kind.APPEARED, Kind.CLOSED, Kind.REMOVED, Kind.FOLDER})
RESCAN = Event("in", "", Kind.RESCAN)
GONE = Event("in", "", Kind.GONE)
REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
"""Root without any capability: what the kernel then allows is what it allows everybody."""


@pytest.fixture
async def watcher(recorder: Recorder) -> AsyncIterator[FanotifyWatcher]:
    made = FanotifyWatcher(recorder.deliver)
    yield made
    made.close()


def queue_limit() -> int:
    return int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())


def marks(watcher: FanotifyWatcher) -> int:
    """How many marks the kernel holds for a watcher (proc_pid_fdinfo(5))."""
    return Path(f"/proc/self/fdinfo/{watcher._fd}").read_text().count("fanotify ino:")


# Without privileges


@pytest.mark.needs("root", "setpriv")
def test_the_whole_contract_holds_without_any_capability() -> None:
    """This very suite of tests, once more, by a process that may do nothing special."""
    words = [*WITHOUT, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += ["tests/watch/test_watch_contract.py", "-k", "fanotify and not mount"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.needs("root", "setpriv")
def test_folders_are_for_everybody_and_file_systems_for_the_privileged(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from roundtrip.watch.fanotify import refusal;"
        "from roundtrip.watch.fanotify_tree import refused_filesystem;"
        "path = pathlib.Path(sys.argv[1]); print(refusal(path), refused_filesystem(path))"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    plain = subprocess.run([*WITHOUT, *words], capture_output=True, text=True, check=True)
    assert plain.stdout.startswith("None whole file systems are for privileged users")
    root = subprocess.run(words, capture_output=True, text=True, check=True)
    assert root.stdout == "None None\n"


@pytest.mark.parametrize("code", sorted(fanotify.UNSUPPORTED))
def test_where_the_kernel_has_no_fanotify_inotify_is_taken_and_the_log_says_why(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that refuse can't be had here; what they answer is in the manual pages."""
    from roundtrip.watch.choose import choose

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    late = code in (errno.EOPNOTSUPP, errno.ENODEV, errno.EXDEV)
    monkeypatch.setattr(fanotify_calls, "mark" if late else "init", refuse)
    choice = choose(tmp_path, "fanotify")
    assert choice.backend == "inotify"
    assert choice.reason == f"the configuration asks for fanotify, but {fanotify.UNSUPPORTED[code]}"


def test_a_file_system_without_file_handles_is_left_to_inotify() -> None:
    """A real one: proc has none."""
    assert refusal(Path("/proc/self")) == fanotify.UNSUPPORTED[errno.EOPNOTSUPP]


async def test_the_configured_fanotify_watches_and_says_so(
    recorder: Recorder, folder: Path
) -> None:
    watch = Watch(recorder.deliver, WatchSettings(backend="fanotify"))
    watch.add("in", folder, CREATED)
    assert watch.backends() == {"in": "fanotify"}
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    watch.check()
    watch.close()


# Events


async def test_all_that_happened_to_one_name_is_told_with_the_removal_first(
    watcher: FanotifyWatcher, recorder: Recorder, folder: Path
) -> None:
    """The kernel makes one event of it, without its order; a look then tells what is there."""
    watcher.add("in", folder, ALL)
    (folder / "order").write_text("x")
    (folder / "order").unlink()
    (folder / "order").write_text("y")
    await recorder.until(Event("in", "order", Kind.CLOSED))
    kinds = [event.kind for event in recorder.events]
    assert kinds == [Kind.REMOVED, Kind.CREATED, Kind.CLOSED]


async def test_marks_on_folders_that_were_renamed_away_do_not_pile_up(
    watcher: FanotifyWatcher, recorder: Recorder, folder: Path
) -> None:
    """The kernel takes a mark off by a path only, and none of ours leads there any more."""
    watcher.add("in", folder, CREATED)
    for number in range(60):
        folder.rename(folder.parent / f"old{number}")
        folder.mkdir()
        recorder.clear()
        await recorder.until(RESCAN)
        assert marks(watcher) <= 20
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))


async def test_a_removed_folder_holds_no_mark(watcher: FanotifyWatcher, folder: Path) -> None:
    watcher.add("in", folder, CREATED)
    assert marks(watcher) == 1
    watcher.remove("in")
    assert marks(watcher) == 0


LIMITED = 'echo 0 > /proc/sys/user/max_$0; exec "$@"'
NO_ROOM = """
import asyncio, pathlib, sys
from roundtrip.watch import Kind, Watch, WatchSettings

async def main():
    watch = Watch(print, WatchSettings(backend="fanotify"), lambda folder, text: print(text))
    watch.add("in", pathlib.Path(sys.argv[1]), frozenset({Kind.CREATED}))
    print(watch.backends())

asyncio.run(main())
"""


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("what", ["groups", "marks"])
def test_without_room_a_folder_is_polled_and_the_setting_to_raise_is_named(
    what: str, folder: Path
) -> None:
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", LIMITED, f"fanotify_{what}"]
    words = [*limited, sys.executable, "-c", NO_ROOM, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"sysctl fs.fanotify.max_user_{what}=" in done.stdout
    assert "{'in': 'poll'}" in done.stdout


def test_an_unknown_version_of_the_kernels_structure_is_not_guessed_at() -> None:
    event = struct.pack("=IBBHQii", 24, 4, 0, 24, int(Bit.CREATE), -1, 0)
    with pytest.raises(OSError, match="version 4"):
        list(fanotify_calls.events(event))


def test_a_record_of_an_unknown_kind_is_skipped() -> None:
    info = struct.pack("=BBHIIIi", 2, 0, 20 + 4 + 8, 1, 2, 4, 9) + b"hand" + b"name\0\0\0\0"
    unknown = struct.pack("=BBH", 99, 0, 8) + b"ever"
    size = 24 + len(unknown) + len(info)
    event = struct.pack("=IBBHQii", size, 3, 0, 24, int(Bit.CREATE), -1, 0)
    (told,) = fanotify_calls.events(event + unknown + info)
    assert told.name == b"name" and told.place is not None
    assert told.place.fsid == 1 | 2 << 32 and told.place.handle == (9, b"hand")


def test_a_handle_is_another_one_when_the_inode_number_is_given_again(tmp_path: Path) -> None:
    seen = set()
    for _ in range(50):
        path = tmp_path / "file"
        path.touch()
        handle = handle_of(-100, str(path))
        assert handle not in seen
        seen.add(handle)
        path.unlink()


@pytest.mark.needs("root")
def test_a_handle_leads_to_its_file_wherever_that_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    handle = handle_of(-100, str(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    mount = os.open(tmp_path, os.O_RDONLY)
    opened = open_handle(mount, handle)
    assert os.readlink(f"/proc/self/fd/{opened}") == str(tmp_path / "b")
    os.close(opened)
    (tmp_path / "b").rmdir()
    with pytest.raises(OSError, match="Stale"):
        open_handle(mount, handle)
    os.close(mount)


# Trees


@pytest.fixture
async def tree(recorder: Recorder, folder: Path) -> AsyncIterator[FanotifyTree]:
    reason = refused_filesystem(folder)
    if reason is not None:
        pytest.skip(reason)
    made = FanotifyTree(recorder.deliver, folder, ALL)
    yield made
    made.close()


async def test_a_file_in_a_folder_that_nobody_knew_of_is_told_by_its_path(
    tree: FanotifyTree, recorder: Recorder, folder: Path
) -> None:
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/b/c/file").touch()
    await recorder.until(Event("a/b/c", "file", Kind.CLOSED), Event("", "a", Kind.FOLDER))


async def test_paths_follow_folders_that_are_renamed_and_end_at_the_trees_border(
    tree: FanotifyTree, recorder: Recorder, folder: Path
) -> None:
    (folder / "a").mkdir()
    (folder / "a/one").touch()
    await recorder.until(Event("a", "one", Kind.CLOSED))
    (folder / "a").rename(folder / "b")
    (folder / "b/two").touch()
    await recorder.until(Event("b", "two", Kind.CLOSED))
    (folder / "b").rename(folder.parent / "outside")
    (folder.parent / "outside/three").touch()
    (folder.parent / "watched-not").mkdir()
    (folder.parent / "watched-not/four").touch()
    (folder / "five").touch()
    await recorder.until(Event("", "five", Kind.CLOSED))
    assert {event.name for event in recorder.events} == {"a", "one", "b", "two", "five"}


async def test_a_trees_top_that_is_replaced_is_rescanned(
    tree: FanotifyTree, recorder: Recorder, folder: Path
) -> None:
    folder.rename(folder.parent / "aside")
    await recorder.until(Event("", "", Kind.GONE))
    folder.mkdir()
    await recorder.until(Event("", "", Kind.RESCAN))
    (folder / "new").touch()
    await recorder.until(Event("", "new", Kind.CLOSED))
    (folder.parent / "aside/old").touch()
    (folder / "newer").touch()
    await recorder.until(Event("", "newer", Kind.CLOSED))
    assert "old" not in {event.name for event in recorder.events}


async def test_a_trees_overflow_is_one_rescan_of_its_top(
    tree: FanotifyTree, recorder: Recorder, folder: Path
) -> None:
    for number in range(queue_limit() + 100):
        os.mknod(folder / str(number))
    await recorder.until(Event("", "", Kind.RESCAN))
    recorder.clear()
    os.mknod(folder / "after")
    await recorder.until(Event("", "after", Kind.CREATED))


async def test_another_disk_in_the_tree_is_watched_and_one_elsewhere_disturbs_nobody(
    tree: FanotifyTree, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    mount(elsewhere)()
    (folder / "disk").mkdir()
    await recorder.until(Event("", "disk", Kind.FOLDER))
    assert recorder.events == [Event("", "disk", Kind.FOLDER)]
    unmount = mount(folder / "disk")
    await recorder.until(Event("", "", Kind.RESCAN))
    (folder / "disk/sub").mkdir()
    (folder / "disk/sub/file").touch()
    await recorder.until(Event("disk/sub", "file", Kind.CLOSED))
    recorder.clear()
    unmount()
    await recorder.until(Event("", "", Kind.RESCAN))
    (folder / "last").touch()
    await recorder.until(Event("", "last", Kind.CLOSED))


async def test_a_tree_needs_no_descriptor_that_keeps_its_disk_busy(
    recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    unmount = mount(folder)
    tree = FanotifyTree(recorder.deliver, folder, ALL)
    (folder / "sub").mkdir()
    (folder / "sub/file").touch()
    await recorder.until(Event("sub", "file", Kind.CLOSED))
    subprocess.run(["umount", folder], check=True)  # Not lazily: EBUSY would be an error.
    await recorder.until(Event("", "", Kind.RESCAN))
    tree.close()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    unmount()


async def test_no_group_left_is_said_as_want_of_room(
    folder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(fanotify_calls, "init", refuse)
    with pytest.raises(NoRoom, match=r"fs\.fanotify\.max_user_groups"):
        FanotifyWatcher(recorder.deliver)
    await asyncio.sleep(0)
