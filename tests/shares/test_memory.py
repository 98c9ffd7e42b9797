"""The shipped fake: what its guard sees of each mutation, and what a crash leaves behind."""

from __future__ import annotations

import pytest

from roundtrip.shares.memory import MemoryDisk


class Crash(Exception):
    """The process is killed here."""


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk()


async def test_the_guard_sees_every_mutation_before_and_after(disk: MemoryDisk) -> None:
    seen: list[tuple[str, str]] = []

    async def guard(moment: str, operation: str) -> None:
        seen.append((moment, operation.split()[0]))

    folder = disk.folder("share")
    disk.guard = guard
    await folder.put("n", b"text")
    await folder.move("n", folder, "m")
    await folder.write("m", b"more")
    await folder.replace("m", b"else")
    await folder.remove("m")
    await folder.names()
    await folder.stat("m")
    seen = [each for each in seen if each[0] != "look"]  # the roles' walk cuts in there, too
    operations = ["create", "fill", "rename", "move", "create", "fill", "replace", "remove"]
    assert seen == [(moment, each) for each in operations for moment in ("before", "after")]


@pytest.mark.parametrize(
    ("moment", "operation", "left"),
    [
        ("before", "create", {}),
        ("after", "create", {"part": b""}),
        ("after", "fill", {"part": b"text"}),
        ("before", "rename", {"part": b"text"}),
        ("after", "rename", {"n": b"text"}),
    ],
)
async def test_a_crash_leaves_what_was_done_until_then(
    disk: MemoryDisk, moment: str, operation: str, left: dict[str, bytes]
) -> None:
    async def guard(now: str, what: str) -> None:
        if (now, what.split()[0]) == (moment, operation):
            raise Crash

    folder = disk.folder("share")
    disk.guard = guard
    with pytest.raises(Crash):
        await folder.put("n", b"text")
    found = {name if name == "n" else "part": text for name, text in disk.files["share"].items()}
    assert found == left


async def test_two_folders_of_one_label_are_the_same_after_a_restart(disk: MemoryDisk) -> None:
    await disk.folder("share").put("n", b"text")
    assert await disk.folder("share").read("n", 10) == b"text"
    assert await disk.folder("other").names() == []


async def test_what_is_written_anew_looks_changed(disk: MemoryDisk) -> None:
    folder = disk.folder("share")
    looks = []
    for change in (folder.put("n", b"a"), folder.write("n", b"b"), folder.replace("n", b"c")):
        await change
        looks.append(await folder.stat("n"))
    with folder.create("n") as file:
        file.write(b"d")
    looks.append(await folder.stat("n"))
    assert len(set(looks)) == 4
