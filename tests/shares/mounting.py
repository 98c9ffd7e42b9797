"""Scenes with real mounts, played in a mount namespace of their own by test_mounted.py.

    unshare -m python -m tests.shares.mounting SCENE ACCESS FOLDER

`disk` is the folder on the "other host", `mount` where this host sees it.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.protocol.states import Role
from roundtrip.shares import writing
from roundtrip.shares.identity import Identity, establish
from roundtrip.shares.remote import RemoteShare
from roundtrip.shares.verdicts import holds_share
from tests.shares.conftest import accept

CONTENTS = [b"small", bytes(20_000), bytes(3 << 20)]


def run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], check=True)


class Stage:
    """The mounted share, and what lies where."""

    def __init__(self, folder: Path, access: str) -> None:
        self.disk, self.mount = folder / "disk", folder / "mount"
        self.disk.mkdir()
        self.mount.mkdir()
        self.share = RemoteShare(self.mount, access=access, durable=False, timeout=30.0)

    async def open(self) -> None:
        await establish(self.disk, Role.RESPONDER)
        run("mount", "--bind", self.disk, self.mount)
        await self.share.reopen(accept)
        await self.share.put("before", b"text")

    def below(self) -> list[str]:
        """What lies in the mount point itself."""
        return sorted(os.listdir(self.mount))

    def there(self) -> list[str]:
        """What lies on the other host."""
        return sorted(name for name in os.listdir(self.disk) if name != ".roundtrip")

    async def must_refuse(self) -> None:
        """Every way to put something is refused, and says that the share has gone."""
        before = self.there()
        for content in CONTENTS:
            for source in (content, io.BytesIO(content)):
                try:
                    await self.share.put("after", source)
                except OSError as error:
                    assert error.errno == errno.ESTALE, error
                    assert holds_share(error), error
                else:
                    raise AssertionError("it was written")
        try:
            await self.share.internal.put("after", b"x")
        except OSError as error:
            assert holds_share(error), error
        else:
            raise AssertionError("it was written")
        assert self.there() == before
        assert not (self.disk / ".roundtrip/after").exists()


async def unmounted(stage: Stage) -> None:
    run("umount", "-l", stage.mount)
    await stage.must_refuse()
    assert stage.below() == [] and not await stage.share.is_current()
    run("mount", "--bind", stage.disk, stage.mount)  # and it is back
    await stage.share.put("after", b"text")
    assert stage.there() == ["after", "before"]


async def mounted_over(stage: Stage) -> None:
    run("mount", "-t", "tmpfs", "tmpfs", stage.mount)
    await stage.must_refuse()
    assert stage.below() == [] and not await stage.share.is_current()


async def another_share(stage: Stage) -> None:
    other = stage.disk.parent / "other"
    await establish(other, Role.RESPONDER)
    run("mount", "--bind", other, stage.mount)
    await stage.must_refuse()
    assert stage.below() == [".roundtrip"]
    found: list[Identity | None] = []

    async def check(identity: Identity | None) -> None:
        found.append(identity)
        raise ShareError("another share")

    with suppress(ShareError):
        await stage.share.reopen(check)
    identity = json.loads((other / ".roundtrip/share.json").read_text())
    assert found[0] is not None and found[0].id == identity["id"]
    await refused_because_it_is_not_open(stage)


async def refused_because_it_is_not_open(stage: Stage) -> None:
    try:
        await stage.share.put("after", b"text")
    except OSError as error:
        assert error.errno == errno.ENOTCONN
    else:
        raise AssertionError("it was written")


async def the_same_share_again(stage: Stage) -> None:
    run("mount", "--bind", stage.disk, stage.mount)
    await stage.share.put("after", b"text")
    assert stage.there() == ["after", "before"] and await stage.share.is_current()


async def identity_replaced(stage: Stage) -> None:
    file = stage.disk / ".roundtrip/share.json"
    content = file.read_text()
    file.unlink()
    await stage.must_refuse()
    file.write_text(content.replace('"id"', '"was"'))
    await stage.must_refuse()
    file.write_text(content)  # restored from a backup: another file that says the same
    await stage.share.put("after", b"text")
    assert stage.there() == ["after", "before"]


async def gone_between_check_and_write(stage: Stage) -> None:
    """The mount goes away at the worst moment: what is written goes where the check was made."""
    really = writing.new_part
    changes: list[Callable[[], None]] = [
        lambda: run("umount", "-l", stage.mount),
        lambda: run("mount", "-t", "tmpfs", "tmpfs", stage.mount),
    ]
    for number, change in enumerate(changes):

        def new_part(
            folder: int, part: str, change: Callable[[], None] = change
        ) -> AbstractContextManager[int]:
            change()
            return really(folder, part)

        writing.new_part = new_part  # type: ignore[assignment]
        source = CONTENTS[number]
        await stage.share.put(f"n{number}", source)
        assert (stage.disk / f"n{number}").read_bytes() == source
        writing.new_part = really
        assert stage.below() == []
        run("mount", "--bind", stage.disk, stage.mount)
    assert stage.there() == ["before", "n0", "n1"]


async def goes_while_a_copy_runs(stage: Stage) -> None:
    """As above with a real helper: the mount goes while a large copy is under way."""
    source = stage.disk.parent / "source"
    with source.open("wb") as file:
        file.truncate(96 << 20)
    with source.open("rb") as file:
        copy = asyncio.create_task(stage.share.put("large", file))
        while not any(name.endswith(".part") for name in stage.there()):
            await asyncio.sleep(0.001)
        run("umount", "-l", stage.mount)
        assert (await copy).size == 96 << 20
    assert stage.below() == [] and stage.there() == ["before", "large"]
    await stage.must_refuse()


async def full(stage: Stage) -> None:
    for content in (bytes(3 << 20), bytes(20_000)):
        (stage.disk / "ballast").write_bytes(b"")
        space = await stage.share.space()
        if len(content) < space.free:
            (stage.disk / "ballast").write_bytes(bytes(space.free - 4096))
        for source in (content, io.BytesIO(content)):
            try:
                await stage.share.put("n", source)
            except OSError as error:
                assert error.errno == errno.ENOSPC and holds_share(error), error
            else:
                raise AssertionError("it was written")
        assert stage.there() == ["ballast", "before"], stage.there()
    (stage.disk / "ballast").unlink()
    await stage.share.put("n", bytes(20_000))
    run("mount", "-o", "remount,ro,bind", stage.mount)
    try:
        await stage.share.put("m", b"text")
    except OSError as error:
        assert error.errno == errno.EROFS and holds_share(error), error
    else:
        raise AssertionError("it was written")


SCENES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    scene.__name__: scene
    for scene in (
        unmounted,
        mounted_over,
        another_share,
        the_same_share_again,
        identity_replaced,
        gone_between_check_and_write,
        goes_while_a_copy_runs,
        full,
    )
}


async def play(scene: str, access: str, folder: Path) -> None:
    if scene == "full":
        run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)
    stage = Stage(folder, access)
    await stage.open()
    await SCENES[scene](stage)
    await stage.share.close()


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
