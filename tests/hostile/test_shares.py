"""Shares that are not what they should be: at the start one clear line, at work nothing written."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode
from tests.intake.hosts import Host, Hosts, agents, until


def refusal(host: Host, *words: str) -> str:
    """Start an agent that must not start; returns the one line that it says."""
    done = host.run("agent", "--once", *words)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == ExitCode.SHARE, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("roundtrip: "), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    return lines[0]


def swap(hosts: Hosts, host: Host) -> None:
    document = json.loads(host.config.read_text())
    shares = document["shares"]
    shares["unenriched"], shares["enriched"] = shares["enriched"], shares["unenriched"]
    host.config.write_text(json.dumps(document))


@pytest.mark.parametrize("role", ["a", "b"])
def test_both_paths_swapped(role: str, hosts: Hosts) -> None:
    host = hosts.a if role == "a" else hosts.b
    swap(hosts, host)
    assert "are unenriched and enriched swapped?" in refusal(host)


@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("share", ["unenriched", "enriched"])
def test_another_share_than_the_pinned_one(role: str, share: str, hosts: Hosts) -> None:
    host = hosts.a if role == "a" else hosts.b
    assert host.run("agent", "--once").returncode == 0
    file = getattr(hosts, share) / ".roundtrip" / "share.json"
    identity = json.loads(file.read_text())
    file.write_text(json.dumps({**identity, "id": "another"}))
    line = refusal(host)
    assert "this is share another" in line
    assert str(hosts.a.state if role == "a" else hosts.b.state) in line


@pytest.mark.parametrize("share", ["unenriched", "enriched"])
def test_a_share_that_was_never_initialised(share: str, hosts: Hosts) -> None:
    shutil.rmtree(getattr(hosts, share) / ".roundtrip")
    line = refusal(hosts.a)
    assert "not a share" in line and "roundtrip init" in line
    assert os.listdir(getattr(hosts, share)) == []


@pytest.mark.parametrize("share", ["unenriched", "enriched"])
def test_a_share_that_is_missing_is_not_made(share: str, hosts: Hosts) -> None:
    shutil.rmtree(getattr(hosts, share))
    assert "No such file or directory" in refusal(hosts.a)
    assert not getattr(hosts, share).exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"x", b"\xff", b'{"id": 1, "home": "c"}', b"[" * 60_000],
    ids=range(8),
)
def test_an_identity_that_is_none(content: bytes, hosts: Hosts) -> None:
    (hosts.unenriched / ".roundtrip" / "share.json").write_bytes(content)
    assert "not a share's identity" in refusal(hosts.a)


@pytest.mark.parametrize("kind", ["fifo", "folder", "symlink"])
def test_an_identity_that_is_no_file(kind: str, hosts: Hosts) -> None:
    file = hosts.unenriched / ".roundtrip" / "share.json"
    file.unlink()
    {"fifo": lambda: os.mkfifo(file), "folder": file.mkdir,
     "symlink": lambda: file.symlink_to("/dev/zero")}[kind]()  # fmt: skip
    assert "not a regular file" in refusal(hosts.a)


@pytest.mark.parametrize("name", ["outbox", "inbox", "failed", "archive", "state"])
def test_a_missing_own_folder(name: str, hosts: Hosts) -> None:
    shutil.rmtree(hosts.a.root / name)
    line = refusal(hosts.a)
    assert str(hosts.a.root / name) in line and "roundtrip init --role a" in line


def test_a_file_where_a_share_should_be(hosts: Hosts) -> None:
    shutil.rmtree(hosts.unenriched)
    hosts.unenriched.write_text("")
    assert "Not a directory" in refusal(hosts.a)


@pytest.fixture
def mounted() -> Iterator[Callable[..., None]]:
    """Mounts what is unmounted again at the end."""
    points: list[Path] = []

    def mount(point: Path, *options: str) -> None:
        subprocess.run(["mount", *options, point], check=True)
        points.append(point)

    yield mount
    for point in points:
        subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize(
    ("role", "share"),
    [
        ("a", "enriched"),
        ("b", "unenriched"),
        ("a", "unenriched"),
        ("b", "enriched"),
    ],
)
def test_a_share_mounted_read_only(
    role: str, share: str, hosts: Hosts, mounted: Callable[..., None]
) -> None:
    path = getattr(hosts, share)
    mounted(path, "--bind", str(path))
    subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
    line = refusal(hosts.a if role == "a" else hosts.b)
    assert str(path) in line, "the line must say which share"
    assert "Read-only file system" in line


@pytest.mark.needs("root", "setpriv")
def test_a_share_that_may_not_be_written(hosts: Hosts) -> None:
    for parent in [hosts.folder, *hosts.folder.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    shutil.chown(hosts.a.root, "nobody")
    for path in hosts.a.root.rglob("*"):
        shutil.chown(path, "nobody")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*user, *hosts.a.command("agent", "--once")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == ExitCode.SHARE
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert str(hosts.unenriched) in lines[0], "the line must say which share"
    assert "Permission denied" in lines[0]


# At work


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def drop(hosts: Hosts, name: str) -> None:
    (hosts.folder / "staged").write_text(name)
    (hosts.folder / "staged").rename(hosts.outbox / name)


LOST = {"lost": "share lost; waiting for it", "back": "share back"}


@pytest.mark.parametrize("empty", [False, True], ids=["gone", "an empty folder in its place"])
@pytest.mark.parametrize("share", ["unenriched", "enriched"])
async def test_a_share_that_goes_and_comes_back(share: str, empty: bool, working: Hosts) -> None:
    path: Path = getattr(working, share)
    aside = path.with_name("aside")
    drop(working, "before.txt")
    await working.delivered("before.txt")
    await working.idle()

    path.rename(aside)
    if empty:
        path.mkdir()
    drop(working, "meanwhile.txt")
    await until(lambda: len(working.log.of(LOST["lost"])) == 2, "both agents to notice")
    drop(working, "later.txt")
    await until(lambda: len(working.log.of("taken")) == 3)
    await asyncio.sleep(0.5)
    if empty:
        assert files(path) == []
        path.rmdir()
    assert not path.exists(), "nobody makes a share's folder"

    aside.rename(path)
    await until(lambda: len(working.log.of(LOST["back"])) == 2, "both agents to go on")
    assert await working.delivered("meanwhile.txt") == b"meanwhile.txt"
    assert await working.delivered("later.txt") == b"later.txt"
    await working.idle()


@pytest.mark.needs("root", "mount")
async def test_a_share_that_is_unmounted_and_mounted_again(
    hosts: Hosts, mounted: Callable[..., None]
) -> None:
    disk = hosts.folder / "disk"
    hosts.unenriched.rename(disk)
    hosts.unenriched.mkdir()
    mounted(hosts.unenriched, "--bind", str(disk))
    async with agents(hosts):
        drop(hosts, "before.txt")
        await hosts.delivered("before.txt")
        subprocess.run(["umount", "-l", hosts.unenriched], check=True)
        await until(lambda: len(hosts.log.of(LOST["lost"])) == 2, "both agents to notice")
        drop(hosts, "meanwhile.txt")
        await until(lambda: len(hosts.log.of("taken")) == 2)
        await asyncio.sleep(0.5)
        assert files(hosts.unenriched) == []
        mounted(hosts.unenriched, "--bind", str(disk))
        assert await hosts.delivered("meanwhile.txt") == b"meanwhile.txt"
    assert hosts.log.defects == []


async def test_an_agent_stops_while_its_share_is_away(hosts: Hosts) -> None:
    aside = hosts.unenriched.with_name("aside")
    async with agents(hosts, "a"):
        hosts.unenriched.rename(aside)
        await until(lambda: hosts.log.of(LOST["lost"]))
    assert not hosts.unenriched.exists()
    assert hosts.log.defects == []


async def test_what_is_in_hand_when_a_share_is_replaced_is_not_written_into_the_other(
    hosts: Hosts,
) -> None:
    """The folder that is opened again must be verified before anybody can write by it."""
    from roundtrip.agent.shares import RemoteSettings, SharePair
    from roundtrip.errors import ShareError
    from roundtrip.protocol.states import Role
    from roundtrip.shares.posix import PosixFolder

    pins = PosixFolder(hosts.a.state / "pins-a")
    shares = (hosts.unenriched, hosts.enriched)
    pair = SharePair(Role.REQUESTER, *shares, pins, durable=False, remote=RemoteSettings())
    await pair.open()
    hosts.unenriched.rename(hosts.unenriched.with_name("aside"))
    hosts.unenriched.mkdir()
    with pytest.raises(ShareError):
        await pair.open()
    with pytest.raises(OSError, match="not there"):
        await pair.remote.put("01M7Y0DY3MW0QAM13YJWWJ9AFZ-x.csv", b"in hand")
    assert os.listdir(hosts.unenriched) == []
