"""A share's identity: made once, pinned at first contact, and missed when the mount is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode, ShareError
from roundtrip.protocol.states import Role
from roundtrip.shares.identity import Identity, ShareName, establish, identify, identity_of, verify
from roundtrip.shares.memory import MemoryDisk
from roundtrip.shares.posix import PosixFolder

A, B = Role.REQUESTER, Role.RESPONDER


@pytest.fixture
def share(tmp_path: Path) -> Path:
    return tmp_path / "Unenriched"


@pytest.fixture
def pins(tmp_path: Path) -> PosixFolder:
    path = tmp_path / "pins"
    path.mkdir()
    return PosixFolder(path)


def identity_file(share: Path) -> Path:
    return share / ".roundtrip" / "share.json"


async def check(share: Path, pins: PosixFolder, name: ShareName = "unenriched") -> Identity:
    folder = PosixFolder(share)
    found = await identity_of(folder)
    await verify(found, folder.label, name, B if name == "unenriched" else A, pins)
    assert found is not None
    return found


async def refusal(share: Path, pins: PosixFolder, name: ShareName = "unenriched") -> str:
    with pytest.raises(ShareError) as refused:
        await check(share, pins, name)
    assert refused.value.exit_code is ExitCode.SHARE
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_a_share_is_made_once_and_found_again(share: Path) -> None:
    made, is_new = await establish(share, B)
    assert is_new and made.home is B
    assert json.loads(identity_file(share).read_text()) == {
        "v": 1,
        "id": made.id,
        "home": "b",
        "created": made.created,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made.created)
    assert await establish(share, B) == (made, False)
    assert await identity_of(PosixFolder(share)) == made


async def test_two_shares_are_never_the_same(tmp_path: Path) -> None:
    first, _ = await establish(tmp_path / "first", B)
    second, _ = await establish(tmp_path / "second", B)
    assert first.id != second.id


async def test_making_a_share_keeps_what_lies_there(share: Path) -> None:
    share.mkdir()
    (share / "orders.csv").write_text("1")
    await establish(share, B)
    assert (share / "orders.csv").read_text() == "1"


async def test_a_share_is_not_made_on_the_other_side(share: Path) -> None:
    await establish(share, B)
    with pytest.raises(ShareError) as refused:
        await establish(share, A)
    assert str(refused.value) == (
        f"{share}: already initialised on the other side (its home is role b); "
        "role a keeps the other share on its own disk"
    )


async def test_a_share_that_cannot_be_made_says_why(share: Path) -> None:
    share.write_text("a file is in the way")
    with pytest.raises(ShareError) as refused:
        await establish(share, B)
    assert str(refused.value) == f"{share}: can't make the share here: Not a directory"


async def test_an_identity_is_pinned_at_first_contact(share: Path, pins: PosixFolder) -> None:
    made, _ = await establish(share, B)
    assert await check(share, pins) == made
    assert (pins.path / "unenriched.share").read_text() == made.id
    assert await check(share, pins) == made


async def test_an_empty_mount_point_is_not_taken_for_the_share(
    share: Path, pins: PosixFolder
) -> None:
    await establish(share, B)
    await check(share, pins)
    share.rename(share.with_name("unmounted"))
    share.mkdir()
    assert await refusal(share, pins) == (
        f"{share}: not a share (no .roundtrip/share.json); if it is mounted from the other host, "
        "is the mount there? Else run: roundtrip init --role b"
    )
    assert list(share.iterdir()) == []


async def test_an_internal_folder_without_an_identity_is_no_share(
    share: Path, pins: PosixFolder
) -> None:
    identity_file(share).parent.mkdir(parents=True)
    assert "not a share (no .roundtrip/share.json)" in await refusal(share, pins)


async def test_another_share_in_its_place_is_told_from_the_one_that_was_pinned(
    share: Path, pins: PosixFolder
) -> None:
    first, _ = await establish(share, B)
    await check(share, pins)
    share.rename(share.with_name("first"))
    second, _ = await establish(share, B)
    assert await refusal(share, pins) == (
        f"{share}: this is share {second.id}, but {first.id} was before; another mount? "
        f"If the change is meant, remove {pins.path}/unenriched.share"
    )
    (pins.path / "unenriched.share").unlink()  # as the text says
    assert await check(share, pins) == second


async def test_swapped_shares_are_told(tmp_path: Path, share: Path, pins: PosixFolder) -> None:
    await establish(share, B)
    assert await refusal(share, pins, "enriched") == (
        f"{share}: this share's home is role b, but enriched lives with role a: "
        "are unenriched and enriched swapped?"
    )
    assert list(pins.path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff",
        b"[" * 20_000,
        b"{}",
        b'{"id": "x"}',
        b'{"id": "x", "home": "c"}',
        b'{"id": "x", "home": ["a"]}',
        b'{"id": "' + b"x" * 70_000 + b'", "home": "b"}',
    ],
    ids=lambda content: repr(content[:24]),
)
async def test_an_identity_that_cannot_be_read_is_told_and_kept(
    share: Path, pins: PosixFolder, content: bytes
) -> None:
    identity_file(share).parent.mkdir(parents=True)
    identity_file(share).write_bytes(content)
    start = f"{share}/.roundtrip/share.json: not a share's identity ("
    assert (await refusal(share, pins)).startswith(start)
    with pytest.raises(ShareError, match="not a share's identity"):
        await establish(share, B)
    assert identity_file(share).read_bytes() == content


async def test_an_identity_that_is_a_link_is_not_followed(share: Path, pins: PosixFolder) -> None:
    await establish(share, B)
    elsewhere = share.with_name("elsewhere.json")
    identity_file(share).rename(elsewhere)
    identity_file(share).symlink_to(elsewhere)
    assert "not a regular file" in await refusal(share, pins)


async def test_keys_that_are_not_known_are_ignored(share: Path, pins: PosixFolder) -> None:
    identity_file(share).parent.mkdir(parents=True)
    identity_file(share).write_text('{"v": 1, "id": "x", "home": "b", "colour": "blue"}')
    assert (await check(share, pins)).id == "x"


async def test_a_share_in_memory_has_an_identity_too() -> None:
    disk = MemoryDisk()
    internal, pins = disk.folder("share/.roundtrip"), disk.folder("pins")
    assert await identify(internal) is None
    with pytest.raises(ShareError, match="not a share"):
        await verify(None, "share", "unenriched", B, pins)
    await internal.put("share.json", b'{"v": 1, "id": "x", "home": "b"}')
    found = await identify(internal)
    assert found is not None and found.id == "x"
    await verify(found, "share", "unenriched", B, pins)
