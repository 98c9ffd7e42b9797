"""The facade: which backend it takes, what it logs, and how it changes its mind."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roundtrip import mounts
from roundtrip.errors import ConfigError, ShareError
from roundtrip.watch import Event, Kind, Watch, WatchSettings
from roundtrip.watch import choose as choose_module
from tests.watch.conftest import Mounter
from tests.watch.recorder import Recorder

CREATED = frozenset({Kind.CREATED})
RESCAN = Event("in", "", Kind.RESCAN)


@pytest.fixture
async def watch(recorder: Recorder) -> AsyncIterator[Watch]:
    made = Watch(recorder.deliver, WatchSettings(interval=0.02))
    yield made
    made.close()


@pytest.fixture
def tmpfs_is_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network mount needs a second host; what a mount is called is all the choice goes by."""
    monkeypatch.setattr(choose_module, "is_remote", lambda fstype: fstype == "tmpfs")


@pytest.fixture
def chosen(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """The folders and backends that were logged."""
    caplog.set_level(logging.INFO, "roundtrip.watch")

    def read() -> list[tuple[str, str]]:
        records = [vars(record) for record in caplog.records if record.msg == "watching"]
        assert all(record["reason"] for record in records)
        return [(record["folder"], record["backend"]) for record in records]

    return read


async def test_a_local_folder_gets_kernel_events_and_the_log_says_so(
    watch: Watch,
    recorder: Recorder,
    folder: Path,
    chosen: Callable[[], list[tuple[str, str]]],
) -> None:
    watch.add("in", folder, CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert chosen() == [("in", "inotify")]


async def test_a_folder_on_a_remote_mount_is_polled_beside_a_local_one(
    watch: Watch,
    recorder: Recorder,
    folder: Path,
    chosen: Callable[[], list[tuple[str, str]]],
    mount: Mounter,
    tmpfs_is_remote: None,
) -> None:
    local = folder.parent / "local"
    local.mkdir()
    mount(folder)
    watch.add("in", folder, CREATED)
    watch.add("local", local, CREATED)
    await recorder.until(RESCAN)
    (folder / "a").touch()
    (local / "b").touch()
    await recorder.until(Event("in", "a", Kind.CREATED), Event("local", "b", Kind.CREATED))
    assert chosen() == [("in", "poll"), ("local", "inotify")]


async def test_a_remote_mount_that_comes_late_changes_the_backend_and_its_end_changes_it_back(
    watch: Watch,
    recorder: Recorder,
    folder: Path,
    chosen: Callable[[], list[tuple[str, str]]],
    mount: Mounter,
    tmpfs_is_remote: None,
) -> None:
    watch.add("in", folder, CREATED)
    unmount = mount(folder)
    # Polling has begun with its first look, too: what comes after that is an event of its own.
    await recorder.until_true(lambda: recorder.events.count(RESCAN) == 2, ["two rescans"])
    (folder / "remote").touch()
    await recorder.until(Event("in", "remote", Kind.CREATED))
    recorder.clear()
    unmount()
    await recorder.until(RESCAN)
    (folder / "below").touch()
    await recorder.until(Event("in", "below", Kind.CREATED))
    assert chosen() == [("in", "inotify"), ("in", "poll"), ("in", "inotify")]
    assert recorder.names(Kind.CREATED) == ["below"]


async def test_a_mount_table_that_can_not_be_read_changes_nothing(
    watch: Watch, recorder: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.add("in", folder, CREATED)
    monkeypatch.setattr(mounts, "MOUNTINFO", str(folder))
    watch.check()
    assert watch.backends() == {"in": "inotify"}
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))


async def test_the_configured_backend_is_kept_whatever_is_mounted(
    recorder: Recorder, folder: Path, mount: Mounter, tmpfs_is_remote: None
) -> None:
    watch = Watch(recorder.deliver, WatchSettings(backend="inotify"))
    mount(folder)
    watch.add("in", folder, CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    watch.close()
    assert recorder.kinds() == {Kind.CREATED}


async def test_an_unknown_backend_is_a_configuration_error(
    recorder: Recorder, folder: Path
) -> None:
    watch = Watch(recorder.deliver, WatchSettings(backend="carrier pigeon"))
    with pytest.raises(
        ConfigError, match="'carrier pigeon' is none of auto, inotify, fanotify, poll"
    ):
        watch.add("in", folder, CREATED)


async def test_a_refused_folder_can_be_added_once_it_is_there(
    watch: Watch, recorder: Recorder, folder: Path
) -> None:
    with pytest.raises(ShareError):
        watch.add("in", folder / "sub", CREATED)
    (folder / "sub").mkdir()
    watch.add("in", folder / "sub", CREATED)
    with pytest.raises(ShareError, match="'in' is watched already"):
        watch.add("in", folder, CREATED)
    (folder / "sub" / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))


async def test_a_removed_folder_is_silent_and_may_come_back(
    watch: Watch, recorder: Recorder, folder: Path
) -> None:
    watch.add("in", folder, CREATED)
    watch.remove("in")
    watch.remove("in")
    (folder / "unseen").touch()
    watch.add("in", folder, CREATED)
    watch.check()
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    assert recorder.names(Kind.CREATED) == ["order"]


async def test_a_folder_may_be_removed_while_events_are_delivered(folder: Path) -> None:
    recorder = Recorder()

    def deliver(events: list[Event]) -> None:
        recorder.deliver(events)
        removing.remove("in")

    removing = Watch(deliver, WatchSettings())
    removing.add("in", folder, CREATED)
    (folder / "order").touch()
    await recorder.until(Event("in", "order", Kind.CREATED))
    removing.close()


def test_the_inotify_package_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, roundtrip.watch; sys.exit('inotify' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
