"""Walking and watching a tree: every backend finds the same, and coverage follows the folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roundtrip.watch import Event, Kind, WatchSettings
from roundtrip.watch import fanotify_tree as fanotify_tree_module
from roundtrip.watch.tree import Tree
from tests.watch.recorder import Recorder

CLOSED = frozenset({Kind.CLOSED})


@pytest.fixture(params=["inotify", "fanotify, each folder", "fanotify, whole file system"])
async def tree(
    request: pytest.FixtureRequest,
    recorder: Recorder,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Tree]:
    if "each" in request.param:
        monkeypatch.setattr(fanotify_tree_module, "refused_filesystem", lambda path: "not here")
    elif "whole" in request.param and fanotify_tree_module.refused_filesystem(folder) is not None:
        pytest.skip("this process may not watch whole file systems")
    (folder / "a/b").mkdir(parents=True)
    settings = WatchSettings(request.param.partition(",")[0], 0.05)
    made = Tree(
        recorder.deliver, settings, folder, CLOSED, deep=True, enters=lambda name: name[0] != "."
    )
    yield made
    made.close()


def walked(tree: Tree, folder: str = "") -> set[str]:
    return {here for here, _ in tree.walk(folder)}


async def test_what_was_walked_is_watched(tree: Tree, recorder: Recorder, folder: Path) -> None:
    assert walked(tree) == {"", "a", "a/b"}
    (folder / "a/b/file").touch()
    await recorder.until(Event("a/b", "file", Kind.CLOSED))


async def test_a_new_folder_is_told_and_watched_once_it_was_walked(
    tree: Tree, recorder: Recorder, folder: Path
) -> None:
    walked(tree)
    (folder / "a/new/deep").mkdir(parents=True)
    await recorder.until(Event("a", "new", Kind.FOLDER))
    assert walked(tree, "a/new") == {"a/new", "a/new/deep"}
    (folder / "a/new/deep/file").touch()
    await recorder.until(Event("a/new/deep", "file", Kind.CLOSED))


async def test_a_renamed_folder_is_watched_under_its_new_path_with_all_that_is_in_it(
    tree: Tree, recorder: Recorder, folder: Path
) -> None:
    walked(tree)
    (folder / "a").rename(folder / "z")
    await recorder.until(Event("", "z", Kind.FOLDER))
    assert walked(tree, "z") == {"z", "z/b"}
    recorder.clear()
    (folder / "z/b/file").touch()
    await recorder.until(Event("z/b", "file", Kind.CLOSED))
    assert {event.folder for event in recorder.events} == {"z/b"}


async def test_a_folder_deleted_and_made_again_is_watched(
    tree: Tree, recorder: Recorder, folder: Path
) -> None:
    walked(tree)
    shutil.rmtree(folder / "a")
    (folder / "a/b").mkdir(parents=True)
    await recorder.until(Event("", "a", Kind.FOLDER))
    walked(tree, "a")
    (folder / "a/b/file").touch()
    await recorder.until(Event("a/b", "file", Kind.CLOSED))


async def test_a_tree_that_is_replaced_as_a_whole_is_watched_in_all_its_folders(
    tree: Tree, recorder: Recorder, folder: Path
) -> None:
    """Of the folders below the top nothing is told: they are where they were, in the old one."""
    walked(tree)
    folder.rename(folder.parent / "aside")
    (folder / "a/b").mkdir(parents=True)
    await recorder.until(Event("", "", Kind.RESCAN))
    walked(tree)
    recorder.clear()
    (folder.parent / "aside/a/b/stray").touch()
    (folder / "a/b/file").touch()
    await recorder.until(Event("a/b", "file", Kind.CLOSED))
    assert "stray" not in {event.name for event in recorder.events}


async def test_links_and_unwanted_folders_are_not_gone_into(
    tree: Tree, recorder: Recorder, folder: Path
) -> None:
    (folder / ".git").mkdir()
    (folder.parent / "elsewhere").mkdir()
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    assert walked(tree) == {"", "a", "a/b"}
    ((_, entries),) = [each for each in tree.walk() if each[0] == ""]
    assert [entry.name for entry in entries] == ["link"]


async def test_an_overflow_is_one_rescan(tree: Tree, recorder: Recorder, folder: Path) -> None:
    walked(tree)
    limit = Path(f"/proc/sys/fs/{tree.backend.partition(',')[0]}/max_queued_events").read_text()
    for number in range(int(limit) + 100):
        os.close(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY))
    await recorder.until(Event("", "", Kind.RESCAN))
    assert [each for each in recorder.events if each.kind is Kind.RESCAN] == [
        Event("", "", Kind.RESCAN)
    ]


async def test_a_polled_tree_asks_for_a_listing_again_and_again(
    recorder: Recorder, folder: Path
) -> None:
    tree = Tree(recorder.deliver, WatchSettings("poll", 0.02), folder, CLOSED, deep=True)
    assert tree.backend == "poll"
    for _ in range(3):
        recorder.clear()
        walked(tree)
        await recorder.until(Event("", "", Kind.RESCAN))
    tree.close()


async def test_a_renamed_folder_is_let_go_as_soon_as_its_old_name_is_told_gone(
    recorder: Recorder, folder: Path
) -> None:
    """What the folder's own mark says of that may come with a later read of the queue."""
    (folder / "a/b").mkdir(parents=True)
    tree = Tree(recorder.deliver, WatchSettings("inotify"), folder, CLOSED, deep=True)
    walked(tree)
    (folder / "a").rename(folder / "z")
    tree._cover._deliver([Event("", "a", Kind.REMOVED)])  # type: ignore[attr-defined]
    assert walked(tree, "z") == {"z", "z/b"}
    (folder / "z/b/file").touch()
    await recorder.until(Event("z/b", "file", Kind.CLOSED))
    tree.close()
