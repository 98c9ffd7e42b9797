"""Group commit: who asks in the same turn of the loop is served together, and told what failed."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from pathlib import Path

import pytest

from roundtrip.shares.group_sync import GroupSync


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each descriptor was synced."""
    count: Counter[int] = Counter()
    really = os.fsync

    def note(descriptor: int) -> None:
        count[descriptor] += 1
        really(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return count


async def test_a_folder_that_many_renamed_into_is_synced_once_a_turn(
    tmp_path: Path, synced: Counter[int]
) -> None:
    group = GroupSync()
    folder, file = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / "n", os.O_CREAT | os.O_WRONLY)
    await asyncio.gather(group.sync(folder), group.sync(file), group.sync(folder))
    assert synced == {folder: 1, file: 1}
    await group.sync(folder)
    assert synced[folder] == 2  # what comes later is synced again


async def test_who_asked_for_what_failed_is_told_and_nobody_else(tmp_path: Path) -> None:
    group = GroupSync()
    sound = os.open(tmp_path, os.O_RDONLY)
    broken, writer = os.pipe()  # fsync(2): EINVAL
    asked = [group.sync(broken), group.sync(sound), group.sync(broken)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert told[1] is None
    assert [each.errno for each in told if isinstance(each, OSError)] == [errno.EINVAL] * 2
    for descriptor in (sound, broken, writer):
        os.close(descriptor)
