"""What is inotify's own: what it is asked for, late events, limits, and idleness."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from roundtrip.errors import ShareError
from roundtrip.watch import kernel
from roundtrip.watch.inotify import InotifyWatcher
from roundtrip.watch.mounts import MountChanges
from roundtrip.watch.port import Event, Kind
from tests.watch.conftest import Mounter
from tests.watch.recorder import Recorder

CREATED = frozenset({Kind.CREATED})
GONE = Event("in", "", Kind.GONE)


def masks(watcher: InotifyWatcher) -> list[int]:
    """The masks that the kernel holds for a watcher (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{watcher._fd}").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith("inotify ")]
    return [int(word[5:], 16) for line in words for word in line if word.startswith("mask:")]


async def test_the_kernel_is_asked_only_for_what_is_wanted(
    inotify: InotifyWatcher, folder: Path
) -> None:
    own_troubles, renamed_in = 0x400 | 0x800, 0x80
    inotify.add("in", folder, frozenset({Kind.APPEARED}))
    assert [mask & 0xFFF for mask in masks(inotify)] == [own_troubles | renamed_in]


async def test_a_folder_hidden_by_a_mount_is_no_longer_watched_below_it(
    inotify: InotifyWatcher, recorder: Recorder, folder: Path, mount: Mounter
) -> None:
    inotify.add("in", folder, CREATED)
    held = os.open(folder, os.O_RDONLY)
    mount(folder.parent)
    await recorder.until(GONE)
    os.close(os.open("stray", os.O_CREAT, dir_fd=held))
    os.close(held)
    assert masks(inotify) == []


async def test_late_events_of_a_removed_watch_are_not_told_under_the_next_one(
    inotify: InotifyWatcher, recorder: Recorder, folder: Path
) -> None:
    inotify.add("in", folder, CREATED)
    (folder / "unread").touch()
    inotify.remove("in")
    inotify.add("in", folder, CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.events == [Event("in", "order", Kind.CREATED)]


async def test_a_watcher_without_watches_left_names_the_setting_to_raise(
    inotify: InotifyWatcher,
    folder: Path,
    no_watches_left: Callable[[], AbstractContextManager[None]],
) -> None:
    with (
        no_watches_left(),
        pytest.raises(ShareError, match=r"sysctl fs\.inotify\.max_user_watches"),
    ):
        inotify.add("in", folder, CREATED)


async def test_a_process_without_descriptors_left_names_the_settings_to_raise(
    recorder: Recorder,
) -> None:
    """Too many instances of one user are the same EMFILE, so both limits are named."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(ShareError, match=r"fs\.inotify\.max_user_instances=.*, ulimit -n"):
            InotifyWatcher(recorder.deliver)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_folder_that_stays_away_is_looked_for_ever_less_often(
    inotify: InotifyWatcher, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LAST_RETRY", 0.2)
    loop, delays, enough = asyncio.get_running_loop(), list[float](), asyncio.Event()
    call_later = loop.call_later

    def spy(delay: float, *call: Any, **more: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        if len(delays) == 4:
            enough.set()
        return call_later(delay, *call, **more)

    monkeypatch.setattr(loop, "call_later", spy)
    inotify.add("in", folder, CREATED)
    assert delays == []
    folder.rmdir()
    await enough.wait()
    assert delays == [0.05, 0.1, 0.2, 0.2]
    assert recorder.events == [GONE]


async def test_one_mount_wakes_the_loop_once(tmp_path: Path, mount: Mounter) -> None:
    wakes: list[None] = []
    changes = MountChanges(lambda: wakes.append(None))
    (tmp_path / "elsewhere").mkdir()
    mount(tmp_path / "elsewhere")
    await asyncio.sleep(0.1)
    assert len(wakes) == 1
    changes.close()


def switches_after(process: int, seconds: float) -> int:
    """How often a process has gone to sleep of its own will, hence woken up, `seconds` from now."""
    time.sleep(seconds)
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


IDLE = """
import asyncio, pathlib, sys
from roundtrip.watch import Kind, Watch, WatchSettings

async def main():
    tell = lambda events: print(events, flush=True)
    watch = Watch(tell, WatchSettings(backend="inotify"))
    watch.add("in", pathlib.Path(sys.argv[1]), frozenset(Kind))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_an_idle_watch_never_wakes_up(folder: Path) -> None:
    command = [sys.executable, "-c", IDLE, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            settled = switches_after(process.pid, 0.3)
            assert switches_after(process.pid, 1.5) == settled
            (folder / "order").touch()
            assert "order" in process.stdout.readline()
            # it is counted when it goes to sleep again
            assert switches_after(process.pid, 0.3) > settled
        finally:
            process.kill()
