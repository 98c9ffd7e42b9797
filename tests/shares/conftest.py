"""The adapters of the port to a folder, each with a way to look behind its back."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

from roundtrip.protocol.names import is_internal
from roundtrip.protocol.states import Role
from roundtrip.shares import outcomes
from roundtrip.shares.identity import Identity, establish
from roundtrip.shares.memory import MemoryDisk
from roundtrip.shares.port import Folder, SharedFolder
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.remote import RemoteShare


@dataclass
class Adapter:
    """`there` names what really lies in `folder`; `make` makes a folder inside it."""

    kind: str
    folder: Folder
    there: Callable[[], set[str]]
    make: Callable[[str], object]

    def in_flight(self) -> set[str]:
        return {name for name in self.there() if is_internal(name)}


def refuse_flags(*args: object) -> None:
    """What renameat2(2) says on a file system that can't refuse to replace."""
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _memory() -> Adapter:
    disk = MemoryDisk()
    folder = disk.folder("share")
    return Adapter(
        "memory",
        folder,
        lambda: set(disk.files["share"]),
        lambda name: disk.folder(f"share/{name}"),
    )


def _posix(kind: str, path: Path) -> Adapter:
    path.mkdir(parents=True)
    return Adapter(
        kind, PosixFolder(path), lambda: set(os.listdir(path)), lambda name: (path / name).mkdir()
    )


@pytest.fixture(params=["memory", "posix", "posix without RENAME_NOREPLACE", "pyfakefs"])
def adapter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Adapter]:
    """Every adapter."""
    if request.param == "memory":
        yield _memory()
        return
    if request.param != "posix":
        # renameat2 is called through ctypes, past pyfakefs: only the second way is left there.
        monkeypatch.setattr(outcomes, "rename_without_replacing", refuse_flags)
    if request.param == "pyfakefs":
        with Patcher():
            yield _posix(request.param, Path("/fake/share"))
        return
    yield _posix(request.param, tmp_path / "share")


@dataclass
class SharedAdapter:
    """As `Adapter`, for the part of the port that mounted shares have, too.

    `content` and `plant` read and write a file behind the adapter's back.
    """

    kind: str
    folder: SharedFolder
    there: Callable[[], set[str]]
    content: Callable[[str], bytes]
    plant: Callable[[str, bytes], object]


async def accept(found: Identity | None) -> None:
    """Every share is the right one."""


async def opened_share(path: Path, access: str, timeout: float = 20.0) -> RemoteShare:
    """A share of its own at `path`, opened."""
    await establish(path, Role.RESPONDER)
    share = RemoteShare(path, access=access, durable=False, timeout=timeout)
    await share.reopen(accept)
    return share


def _shared_memory() -> SharedAdapter:
    disk = MemoryDisk()
    folder = disk.folder("share")
    files = disk.files["share"]
    return SharedAdapter("memory", folder, lambda: set(files), files.__getitem__, files.__setitem__)


def _shared(kind: str, folder: SharedFolder, path: Path) -> SharedAdapter:
    return SharedAdapter(
        kind,
        folder,
        lambda: set(os.listdir(path)) - {".roundtrip"},
        lambda name: (path / name).read_bytes(),
        lambda name, content: (path / name).write_bytes(content),
    )


@pytest.fixture(params=["memory", "posix", "posix without RENAME_NOREPLACE", "direct", "helper"])
async def shared(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SharedAdapter]:
    """Every adapter that can be the other host's share."""
    kind: str = request.param
    if kind == "memory":
        yield _shared_memory()
        return
    if "without" in kind:
        monkeypatch.setattr(outcomes, "rename_without_replacing", refuse_flags)
    share = await opened_share(tmp_path, "helper" if kind == "helper" else "direct")
    folder = PosixFolder(tmp_path) if kind.startswith("posix") else share
    yield _shared(kind, folder, tmp_path)
    await share.close()


@pytest.fixture
def folder(adapter: Adapter) -> Folder:
    return adapter.folder


@pytest.fixture
def real(tmp_path: Path) -> Iterator[PosixFolder]:
    """A folder on the machine's own file system."""
    path = tmp_path / "real"
    path.mkdir()
    opened = PosixFolder(path)
    yield opened
    opened.close()


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs that are gone when the test is."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
