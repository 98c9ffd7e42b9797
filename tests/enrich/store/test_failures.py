"""A killed process, a full disk, a file that may not grow: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roundtrip.enrich.store import commits
from roundtrip.enrich.store.schema import open_for_reading
from roundtrip.enrich.store.sqlite import SqliteStore
from roundtrip.errors import ShareError
from tests.enrich.store.conftest import Clock

ROOT = Path(__file__).parents[3]

WRITER = """
import asyncio, sys
from pathlib import Path
from roundtrip.enrich.store.sqlite import SqliteStore

async def one(store, task):
    for number in range(10**9):
        store.ledger.put("one", f"{task}-{number}".encode(), b"answer" * 20)
        await store.durable()
        print(f"{task}-{number}", flush=True)

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await asyncio.gather(*(one(store, task) for task in range(20)))

asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 700, 5_000])
async def test_what_was_durable_before_a_kill_is_there_after_it(
    path: Path, clock: Clock, acknowledged: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    told = [child.stdout.readline().strip() for _ in range(acknowledged)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()
    told += [line for line in rest.split("\n")[:-1] if line]
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    store = SqliteStore(path, clock=clock)
    await store.open()
    lost = [key for key in told if store.ledger.get("one", key.encode()) is None]
    assert (len(told) >= acknowledged, lost) == (True, [])
    await store.aclose()


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from roundtrip.enrich.store import commits
from roundtrip.enrich.store.sqlite import SqliteStore

async def main():
    commits.RETRY = 0.05
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    store.ledger.put("one", b"before", b"x")
    await store.durable()
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    store.ledger.put("one", b"large", bytes(400_000))
    for wait in (store.durable, store.durable, store.room):
        try:
            await wait()
        except OSError as error:
            print(error.filename == sys.argv[1], error.strerror)
    print(store.ledger.get("one", b"large") == bytes(400_000), store.ledger.get("one", b"before"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    async with asyncio.timeout(10):
        while True:
            try:
                await store.room()
                break
            except OSError:
                await asyncio.sleep(0.01)
    await store.durable()
    print("written")
    await store.aclose()

asyncio.run(main())
"""


def test_what_could_not_be_written_is_kept_told_and_written_later(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, cwd=ROOT
    )
    lines = child.stdout.splitlines()
    assert len(lines) == 5, child
    for line in lines[:3]:
        assert line.startswith("True the ledger can't be used now (") and "tried again" in line
    assert lines[3:] == ["True b'x'", "written"]
    with closing(open_for_reading(path)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (2,)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.needs("root", "mount")
async def test_a_full_disk_is_told_and_forgiven(
    small_disk: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "RETRY", 0.05)
    store = SqliteStore(small_disk / "ledger.sqlite", clock=clock)
    await store.open()
    (small_disk / "ballast").write_bytes(bytes(700_000))
    store.ledger.put("one", b"k", os.urandom(400_000))
    with pytest.raises(OSError) as caught:
        await store.durable()
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        await store.counters.reserve("api", "2026-05", 1)
    (small_disk / "ballast").unlink()
    async with asyncio.timeout(10):
        while True:
            try:
                await store.durable()
                break
            except OSError:
                await asyncio.sleep(0.01)
    await store.aclose()
    store = SqliteStore(small_disk / "ledger.sqlite", clock=clock)
    await store.open()
    assert store.ledger.holds("one")
    assert store.counters.spent("api", "2026-05") == 1
    await store.aclose()


@pytest.mark.needs("root", "mount")
async def test_closing_on_a_full_disk_tells_what_is_lost(small_disk: Path, clock: Clock) -> None:
    store = SqliteStore(small_disk / "ledger.sqlite", clock=clock)
    await store.open()
    store.ledger.put("one", b"k", os.urandom(2_000_000))
    with pytest.raises(OSError, match="can't be used now"):
        await store.aclose()


async def test_a_file_damaged_in_the_middle_is_told_by_look_ups(path: Path, clock: Clock) -> None:
    store = SqliteStore(path, clock=clock)
    await store.open()
    for number in range(2_000):
        store.ledger.put("one", str(number).encode(), b"answer" * 20)
    await store.aclose()
    content = path.read_bytes()
    path.write_bytes(content[:81_920] + bytes(len(content) - 81_920))
    store = SqliteStore(path, clock=clock)
    await store.open()
    with pytest.raises(OSError) as caught:
        for number in range(2_000):
            store.ledger.get("one", str(number).encode())
    assert caught.value.filename == str(path)
    assert "move it away" in str(caught.value)
    await store.aclose()


async def test_a_file_damaged_at_the_front_is_refused_at_the_start(
    path: Path, clock: Clock
) -> None:
    store = SqliteStore(path, clock=clock)
    await store.open()
    await store.aclose()
    path.write_bytes(path.read_bytes()[:8192] + bytes(40_960))
    with pytest.raises(ShareError, match="move it away") as caught:
        await SqliteStore(path, clock=clock).open()
    assert str(caught.value).startswith(f"{path}: ")
