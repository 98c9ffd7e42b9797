"""What only a real file system can show: links and devices, faults, writers, threads, fsync."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

from roundtrip.errors import ShareError
from roundtrip.shares import files, outcomes
from roundtrip.shares.port import SMALL, Entry, Folder, Kind, NotAFile, Payload
from roundtrip.shares.posix import PosixFolder
from tests.shares.conftest import refuse_flags

Start = Callable[..., "subprocess.Popen[str]"]

WRITER = """
import os, sys
descriptor = os.open(sys.argv[1], getattr(os, sys.argv[2]))
print("open", flush=True)
sys.stdin.readline()
os.close(descriptor)
print("closed", flush=True)
sys.stdin.readline()
"""


def make_odd(folder: PosixFolder, what: str) -> None:
    """Put something that is no regular file at `odd`."""
    path = folder.path / "odd"
    target = folder.path.parent / "target"
    target.write_bytes(b"secret")
    match what:
        case "symlink":
            path.symlink_to(target)
        case "dangling symlink":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.fspath(path))


ODD = ["symlink", "dangling symlink", "fifo", "folder", "socket"]
READERS: list[Callable[[Folder], Any]] = [
    lambda folder: folder.open("odd"),
    lambda folder: folder.read("odd", 10),
    lambda folder: folder.is_being_written("odd"),
]


@pytest.mark.timeout(10)
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("reader", READERS, ids=["open", "read", "is_being_written"])
async def test_what_is_no_regular_file_is_refused_at_once(
    real: PosixFolder, what: str, reader: Callable[[Folder], Any]
) -> None:
    make_odd(real, what)
    with pytest.raises(NotAFile, match="'odd': not a regular file"):
        await reader(real)


@pytest.mark.timeout(10)
async def test_a_device_is_refused_without_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = PosixFolder(Path("/dev"))
    opened = record_opens(monkeypatch)
    for reader in ("null", "zero", "tty"):
        with pytest.raises(NotAFile):
            await devices.open(reader)
    assert opened == []


@pytest.mark.timeout(10)
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("reader", READERS, ids=["open", "read", "is_being_written"])
async def test_what_takes_a_files_place_after_the_look_is_refused_without_blocking(
    real: PosixFolder,
    what: str,
    reader: Callable[[Folder], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await real.put("plain", b"text")
    make_odd(real, what)
    looks_plain = os.stat(real.path / "plain")
    monkeypatch.setattr(os, "stat", lambda *args, **options: looks_plain)
    with pytest.raises((NotAFile, OSError)) as refused:
        await reader(real)
    told = refused.value
    assert not isinstance(told, OSError) or told.errno in (errno.ELOOP, errno.ENXIO)


@pytest.mark.parametrize("what", ["symlink", "dangling symlink"])
async def test_links_are_neither_followed_by_stat_nor_by_remove(
    real: PosixFolder, what: str
) -> None:
    make_odd(real, what)
    entry = await real.stat("odd")
    assert entry is not None and entry.kind is Kind.OTHER
    await real.remove("odd")
    assert (real.path.parent / "target").read_bytes() == b"secret"


@pytest.mark.parametrize(
    ("what", "kind"), [("folder", Kind.FOLDER), ("fifo", Kind.OTHER), ("socket", Kind.OTHER)]
)
async def test_stat_tells_files_from_what_is_none(real: PosixFolder, what: str, kind: Kind) -> None:
    make_odd(real, what)
    entry = await real.stat("odd")
    assert entry is not None and entry.kind is kind


@pytest.mark.parametrize("what", ["symlink", "dangling symlink"])
async def test_nothing_is_written_through_a_link(real: PosixFolder, what: str) -> None:
    make_odd(real, what)
    for write in (real.put("odd", b"x"), real.write("odd", b"x")):
        with pytest.raises(OSError):
            await write
    with pytest.raises(OSError):
        real.create("odd")
    assert (real.path.parent / "target").read_bytes() == b"secret"
    assert not (real.path / "nowhere").exists()


@pytest.mark.parametrize("without", [False, True], ids=["renameat2", "fallback"])
@pytest.mark.parametrize("what", ODD)
async def test_whatever_a_name_stands_for_it_is_never_replaced(
    real: PosixFolder, what: str, without: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without:
        monkeypatch.setattr(outcomes, "rename_without_replacing", refuse_flags)
    make_odd(real, what)
    before = os.lstat(real.path / "odd")
    await real.put("n", b"text")
    with pytest.raises(FileExistsError):
        await real.move("n", real, "odd")
    with pytest.raises(FileExistsError):
        await real.put("odd", b"text")
    assert os.lstat(real.path / "odd").st_ino == before.st_ino
    assert set(await real.names()) == {"n", "odd"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
async def test_a_file_system_that_cannot_refuse_by_itself_is_looked_at_first(
    real: PosixFolder, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(outcomes, "rename_without_replacing", cannot)
    await real.put("n", b"old")
    with pytest.raises(FileExistsError):
        await real.put("n", b"new")
    await real.move("n", real, "m")
    assert await real.names() == ["m"]


async def test_any_other_trouble_with_a_rename_is_told(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(outcomes, "rename_without_replacing", broken)
    with pytest.raises(OSError, match="Input/output error"):
        await real.put("n", b"text")
    assert await real.names() == []


# Faults: a full disk, and a disk or mount that fails at any of the calls.


def record_opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that is opened from now on, by anything in the process."""
    opened: list[str] = []
    really = os.open

    def note(path: Any, *args: Any, **options: Any) -> int:
        opened.append(os.fsdecode(path))
        return really(path, *args, **options)

    monkeypatch.setattr(os, "open", note)
    return opened


def break_call(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """Make a call fail on what is being written, as the kernel would report it."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    really: dict[str, Callable[..., Any]] = {
        "write": os.write,
        "fsync": os.fsync,
        "close": os.close,
    }

    def fail_on_files(descriptor: int, *args: Any) -> Any:
        mode = os.fstat(descriptor).st_mode
        if call == "close":
            really[call](descriptor)
        if stat.S_ISREG(mode):
            fail()
        return None if call == "close" else really[call](descriptor, *args)

    if call == "rename":
        monkeypatch.setattr(outcomes, "rename_without_replacing", fail)
        monkeypatch.setattr(os, "rename", fail)
    elif call == "open":
        monkeypatch.setattr(os, "open", fail)
    else:
        monkeypatch.setattr(os, call, fail_on_files)


FAULTS = [
    ("open", errno.EDQUOT),
    ("write", errno.ENOSPC),
    ("write", errno.EIO),
    ("fsync", errno.EIO),
    ("close", errno.EIO),
    ("close", errno.ENOSPC),
    ("rename", errno.EIO),
]


@pytest.mark.parametrize(("call", "number"), FAULTS)
@pytest.mark.parametrize("size", [4, SMALL + 1])
@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
async def test_a_put_that_fails_tells_why_and_leaves_nothing_behind(
    real: PosixFolder,
    call: str,
    number: int,
    size: int,
    as_file: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = bytes(size)
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as broken:
        break_call(broken, call, number)
        with pytest.raises(OSError) as told:
            await real.put("n", io.BytesIO(content) if as_file else content, durable=True)
    assert told.value.errno == number
    assert await real.names() == []
    assert len(os.listdir("/proc/self/fd")) == before
    await real.put("n", content)  # and afterwards all is well again


@pytest.mark.parametrize(("call", "number"), FAULTS)
async def test_a_replace_that_fails_keeps_the_old_content_and_leaves_nothing_behind(
    real: PosixFolder, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await real.put("n", b"old")
    with monkeypatch.context() as broken:
        break_call(broken, call, number)
        with pytest.raises(OSError) as told:
            await real.replace("n", b"new")
    assert told.value.errno == number
    assert await real.names() == ["n"]
    assert await real.read("n", 10) == b"old"


async def test_a_full_disk_leaves_no_half_file() -> None:
    with Patcher() as patcher, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(outcomes, "rename_without_replacing", refuse_flags)
        patcher.fs.create_dir("/share")
        folder = PosixFolder(Path("/share"))
        patcher.fs.set_disk_usage(1000)
        await folder.put("n", bytes(600))
        for source in (bytes(600), io.BytesIO(bytes(600))):
            with pytest.raises(OSError) as told:
                await folder.put("m", source)
            assert told.value.errno == errno.ENOSPC
        assert await folder.names() == ["n"]


async def test_a_really_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "roundtrip-test", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a small file system")
    try:
        folder = PosixFolder(tmp_path)
        for source in (bytes(3 * SMALL), io.BytesIO(bytes(3 * SMALL))):
            with pytest.raises(OSError) as told:
                await folder.put("n", source)
            assert told.value.errno == errno.ENOSPC
        assert await folder.names() == []
        await folder.put("n", bytes(SMALL // 2))
        folder.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


async def test_writes_that_take_only_a_part_are_gone_on_with(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.write
    content = bytes(range(256))
    with monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda descriptor, view: really(descriptor, view[:7]))
        await real.put("n", content)
        await real.put("m", io.BytesIO(content))
    assert await real.read("n", 300) == await real.read("m", 300) == content


# Writers.


@pytest.mark.parametrize("flags", ["O_WRONLY", "O_RDWR"])
async def test_a_file_that_another_process_has_open_for_writing_is_being_written(
    real: PosixFolder, flags: str, python: Start
) -> None:
    await real.put("n", b"text")
    writer = python(WRITER, real.path / "n", flags)
    assert writer.stdout and writer.stdin
    assert writer.stdout.readline() == "open\n"
    assert await real.is_being_written("n") is True
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "closed\n"
    assert await real.is_being_written("n") is False


async def test_a_file_that_is_only_read_is_not_being_written(
    real: PosixFolder, python: Start
) -> None:
    await real.put("n", b"text")
    reader = python(WRITER, real.path / "n", "O_RDONLY")
    assert reader.stdout and reader.stdout.readline() == "open\n"
    assert await real.is_being_written("n") is False


async def test_asking_whether_a_file_is_being_written_keeps_nobody_from_writing(
    real: PosixFolder,
) -> None:
    await real.put("n", b"text")
    assert await real.is_being_written("n") is False
    descriptor = os.open(real.path / "n", os.O_WRONLY | os.O_NONBLOCK)  # EAGAIN under a lease
    os.close(descriptor)


# Large payloads: their bytes are moved by threads, so that small exchanges go on meanwhile.


class Gate(io.BytesIO):
    """A source that can be read once the event loop has had its turn."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.loop_ran = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.loop_ran.wait(timeout=5):
            raise AssertionError("the event loop stood still")
        return super().read(size)


@pytest.mark.parametrize("verb", ["put", "write", "digest"])
async def test_a_large_payload_does_not_block_the_loop(real: PosixFolder, verb: str) -> None:
    source = Gate(bytes(3 * SMALL))
    asyncio.get_running_loop().call_later(0.01, source.loop_ran.set)
    match verb:
        case "put":
            digest = await real.put("n", source)
        case "write":
            digest = await real.write("n", source)
        case _:
            digest = await Payload(Entry(Kind.FILE, 3 * SMALL, 0), None, source).digest()
    assert digest.size == 3 * SMALL


async def test_a_large_file_is_opened_without_being_read(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(real.path / "n", "wb") as file:
        file.truncate(10 << 30)
    monkeypatch.setattr(files, "read_up_to", lambda *args: pytest.fail("it was read"))
    with await real.open("n") as payload:
        assert payload.size == 10 << 30 and payload.content is None


async def test_an_opened_payload_gives_its_descriptor_back(real: PosixFolder) -> None:
    await real.put("small", b"x")
    await real.put("large", bytes(SMALL + 1))
    before = os.listdir("/proc/self/fd")
    for name in ("small", "large"):
        with await real.open(name) as payload:
            await payload.digest()
    assert os.listdir("/proc/self/fd") == before


# Durability: the file before its name, the name before anybody is told.


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that write, in order; descriptors are shown as what they are open on."""
    made: list[str] = []

    def target(descriptor: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        return "folder" if path.is_dir() else "part" if path.name.startswith(".") else path.name

    def wrap(name: str, describe: Callable[..., str]) -> None:
        really = getattr(os, name)

        def noted(*args: Any, **options: Any) -> Any:
            made.append(f"{name} {describe(*args)}")
            return really(*args, **options)

        monkeypatch.setattr(os, name, noted)

    wrap("write", lambda descriptor, view: target(descriptor))
    wrap("fsync", target)
    wrap("rename", lambda old, new: new)
    really = outcomes.rename_without_replacing

    def renamed(source: int, name: str, folder: int, new_name: str) -> None:
        made.append(f"rename {new_name}")
        really(source, name, folder, new_name)

    monkeypatch.setattr(outcomes, "rename_without_replacing", renamed)
    return made


@pytest.mark.parametrize("by", ["the call", "the folder"])
@pytest.mark.parametrize("size", [4, SMALL + 1])
async def test_a_durable_put_syncs_the_file_then_renames_then_syncs_the_folder(
    tmp_path: Path, calls: list[str], by: str, size: int
) -> None:
    folder = PosixFolder(tmp_path, durable=by == "the folder")
    await folder.put("n", io.BytesIO(bytes(size)), durable=by == "the call")
    writes = [call for call in calls if call == "write part"]
    assert writes and calls == [*writes, "fsync part", "rename n", "fsync folder"]


async def test_a_put_that_need_not_be_durable_syncs_nothing(
    real: PosixFolder, calls: list[str]
) -> None:
    await real.put("n", b"text")
    assert calls == ["write part", "rename n"]


async def test_a_replace_is_always_durable(real: PosixFolder, calls: list[str]) -> None:
    await real.replace("n", b"text")
    assert calls == ["write part", "fsync part", "rename n", "fsync folder"]


async def test_a_durable_move_syncs_the_folder_that_it_leads_to(
    real: PosixFolder, calls: list[str]
) -> None:
    (real.path / "inner").mkdir()
    inner = real.sub("inner")
    await real.put("n", b"text")
    calls.clear()
    await real.move("n", inner, "n", durable=True)
    assert calls == ["rename n", "fsync folder"]
    calls.clear()
    await inner.move("n", real, "n")
    assert calls == ["rename n"]


async def test_a_durable_write_syncs_the_file(real: PosixFolder, calls: list[str]) -> None:
    await real.write("n", b"text", durable=True)
    assert calls == ["write n", "fsync n"]


# The folder itself.


def test_a_folder_that_is_missing_or_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShareError, match=r"missing: No such file or directory; is it mounted\?"):
        PosixFolder(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(ShareError, match=r"file: Not a directory; is it mounted\?"):
        PosixFolder(tmp_path / "file")


async def test_a_folder_that_was_put_in_place_of_another_is_not_written_into(
    tmp_path: Path,
) -> None:
    path = tmp_path / "share"
    path.mkdir()
    folder = PosixFolder(path)
    assert folder.is_current()
    path.rename(tmp_path / "aside")
    assert not folder.is_current()
    path.mkdir()
    assert not folder.is_current()
    await folder.put("n", b"text")
    assert os.listdir(path) == [] and os.listdir(tmp_path / "aside") == ["n"]
    folder.open_folder()
    assert folder.is_current()
    await folder.put("n", b"text")
    assert os.listdir(path) == ["n"]


def test_a_folder_that_is_opened_again_gives_its_old_descriptor_back(real: PosixFolder) -> None:
    before = os.listdir("/proc/self/fd")
    real.open_folder()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_folder_that_cannot_be_opened_again_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "share"
    path.mkdir()
    folder = PosixFolder(path)
    path.rename(tmp_path / "aside")
    with pytest.raises(ShareError):
        folder.open_folder()
    (tmp_path / "aside").rename(path)
    assert folder.is_current()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    folder = PosixFolder(tmp_path)
    folder.close()
    folder.close()


async def test_a_closed_folder_lists_nothing_least_of_all_the_working_directory(
    tmp_path: Path,
) -> None:
    folder = PosixFolder(tmp_path)
    folder.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await folder.names()
    with pytest.raises(OSError, match="Bad file descriptor"):
        list(folder.scan())
