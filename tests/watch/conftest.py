"""Folders to watch, watchers of both backends, and mounts that go away again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from roundtrip.watch.inotify import InotifyWatcher
from roundtrip.watch.poll import PollWatcher
from tests.watch.recorder import Recorder

Mounter = Callable[[Path], Callable[[], None]]
"""Mounts a tmpfs at a path; what it returns unmounts it."""


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
async def inotify(recorder: Recorder) -> AsyncIterator[InotifyWatcher]:
    watcher = InotifyWatcher(recorder.deliver)
    yield watcher
    watcher.close()


@pytest.fixture
async def poll(recorder: Recorder) -> AsyncIterator[PollWatcher]:
    watcher = PollWatcher(recorder.deliver, interval=0.02)
    yield watcher
    watcher.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mounter]:
    """Skips the test where this process may not mount."""
    probe = tmp_path / "may-mount"
    probe.mkdir()
    command = ["mount", "-t", "tmpfs", "roundtrip-test"]
    refused = subprocess.run([*command, probe], capture_output=True, text=True)
    if refused.returncode:
        pytest.skip(f"this process may not mount: {refused.stderr.splitlines()[0]}")
    subprocess.run(["umount", probe], check=True)
    with ExitStack() as stack:

        def put(path: Path) -> Callable[[], None]:
            subprocess.run([*command, path], check=True)
            taken_off = stack.enter_context(ExitStack())
            taken_off.callback(lambda: subprocess.run(["umount", "-l", path], check=True))
            return taken_off.close

        yield put


@pytest.fixture
def no_watches_left() -> Callable[[], AbstractContextManager[None]]:
    """Takes the right to new watches from everybody on this machine, as shortly as can be."""
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if not os.access(limit, os.W_OK):
        pytest.skip(f"this process may not write {limit}")

    @contextmanager
    def lowered() -> Iterator[None]:
        before = limit.read_text()
        limit.write_text("0")
        try:
            yield
        finally:
            limit.write_text(before)

    return lowered
