"""The helper process: real hangs, kills and ends, and what the agent's end makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from roundtrip.shares import calls, wire
from roundtrip.shares.helper import FIRST_STEP, THREADS, Steps, next_step
from roundtrip.shares.remote import RemoteShare
from roundtrip.shares.verdicts import Hung, holds_share
from tests.shares.conftest import accept, opened_share
from tests.shares.stuck import Stuck

MI = 1024 * 1024
SOON = 20.0
"""Seconds; generous, since machines are shared."""


@pytest.fixture
async def share(tmp_path: Path) -> AsyncIterator[RemoteShare]:
    """A share that is used through a helper."""
    (tmp_path / "share").mkdir()
    share = await opened_share(tmp_path / "share", "helper")
    yield share
    await share.close()


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[RemoteShare]:
    """The same with very little patience."""
    (tmp_path / "share").mkdir()
    share = await opened_share(tmp_path / "share", "helper", timeout=0.5)
    yield share
    await share.close()


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    """A mount that hangs."""
    path = tmp_path / "mount"
    path.mkdir()
    mount = Stuck(path)
    yield mount
    mount.let_go()


def pid_of(share: RemoteShare) -> int:
    assert share.helper_pid is not None
    return share.helper_pid


def is_there(pid: int) -> bool:
    """Whether any thread of a process is left; its first one may be gone before the others."""
    try:
        tasks = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(task.rpartition(")")[2].split()[0] not in "ZX" for task in tasks)


def stop(pid: int) -> None:
    """SIGSTOP a process, and wait until none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + SOON
    while any(
        each.read_text().rpartition(")")[2].split()[0] != "T"
        for each in Path(f"/proc/{pid}/task").glob("*/stat")
    ):
        assert time.monotonic() < deadline, "it stops"


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


# The process.


async def test_a_helper_inherits_nothing_but_its_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEO_TOKEN", "a secret")
    with open(tmp_path / "inheritable", "wb") as file:
        os.set_inheritable(file.fileno(), True)
        share = await opened_share(tmp_path, "helper")
    process = Path(f"/proc/{pid_of(share)}")
    opened = sorted(os.readlink(each) for each in (process / "fd").iterdir())
    kinds = [link.split(":")[0] for link in opened]
    assert kinds == [*["/dev/null"] * 3, str(tmp_path), str(tmp_path / ".roundtrip"), "socket"]
    assert b"GEO_TOKEN" not in (process / "environ").read_bytes()
    assert os.readlink(process / "cwd") == "/"
    assert os.getsid(pid_of(share)) == pid_of(share)
    await share.close()


async def test_a_helper_starts_quickly_and_stays_small(share: RemoteShare) -> None:
    began = time.perf_counter()
    await share.reopen(accept)
    assert time.perf_counter() - began < 2.0  # 30 ms on a machine that has time
    status = Path(f"/proc/{pid_of(share)}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) < 24 * 1024  # kB


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_helper_is_ended_by_its_agent_only(share: RemoteShare, number: int) -> None:
    os.kill(pid_of(share), number)
    await share.put("n", b"text")
    assert await share.read("n", 10) == b"text"


async def test_a_helper_ends_when_its_share_is_closed(share: RemoteShare) -> None:
    pid = pid_of(share)
    await share.close()
    await until(lambda: not is_there(pid), "the helper ends")


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.shares.conftest import opened_share

async def main():
    share = await opened_share(Path(sys.argv[1]), "helper")
    print(share.helper_pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_helper_ends_with_an_agent_that_is_killed(
    tmp_path: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    parent = python(PARENT, tmp_path)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    os.kill(pid, signal.SIGSTOP)  # It can't see that its socket is closed.
    parent.kill()
    await until(lambda: not is_there(pid), "the helper ends")


async def test_a_helper_that_is_killed_fails_its_calls_and_can_be_replaced(
    share: RemoteShare,
) -> None:
    stop(pid_of(share))
    call = asyncio.create_task(share.stat("n"))
    await asyncio.sleep(0)
    os.kill(pid_of(share), signal.SIGKILL)
    for attempt in (call, share.stat("n")):
        with pytest.raises(OSError, match="ended") as told:
            await attempt
        assert told.value.errno == errno.ENOTCONN and holds_share(told.value)
    assert not await share.is_current()
    await share.reopen(accept)
    assert await share.stat("n") is None and await share.is_current()


async def test_python_that_cannot_start_the_helper_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    with pytest.raises(OSError, match="its helper process ended"):
        await opened_share(tmp_path, "helper")


# Hangs.


async def test_a_mount_that_hangs_is_told_in_time_and_the_loop_goes_on(stuck: Stuck) -> None:
    share = RemoteShare(stuck.path, access="auto", durable=False, timeout=1.0)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    began = time.monotonic()
    with pytest.raises(Hung, match="hung since 20"):
        await share.reopen(accept)
    assert stuck.touched.is_set()
    assert time.monotonic() - began < 1.0 + SOON
    assert turns > 10
    turning.cancel()


async def test_nobody_touches_a_share_while_an_abandoned_helper_is_stuck_in_it(
    stuck: Stuck,
) -> None:
    share = RemoteShare(stuck.path, access="helper", durable=False, timeout=1.0)
    with pytest.raises(Hung) as first:
        await share.reopen(accept)
    stuck_pid = share._former.pid if share._former else 0
    with pytest.raises(Hung):
        await share.reopen(accept)
    assert is_there(stuck_pid)  # SIGKILL doesn't reach it
    began = time.monotonic()
    with pytest.raises(Hung) as again:
        await share.reopen(accept)
    assert time.monotonic() - began < 0.5
    assert again.value.strerror == first.value.strerror  # since when it really hangs
    assert share.helper_pid is None
    stuck.let_go()
    await until(lambda: not is_there(stuck_pid), "the kernel lets it go")
    with pytest.raises(Exception, match="another"):
        await share.reopen(refuse)


async def refuse(found: object) -> None:
    raise ConnectionRefusedError("another")


async def test_closing_a_share_that_hangs_takes_no_time(stuck: Stuck) -> None:
    share = RemoteShare(stuck.path, access="helper", durable=False, timeout=60.0)
    opening = asyncio.create_task(share.reopen(accept))
    await asyncio.to_thread(stuck.touched.wait, SOON)
    began = time.monotonic()
    await share.close()
    assert time.monotonic() - began < 0.5
    with pytest.raises(OSError, match="closed"):
        await opening


async def test_all_calls_in_flight_fail_when_one_gets_no_answer(impatient: RemoteShare) -> None:
    await impatient.put("n", b"text")
    stop(pid_of(impatient))
    attempts = [asyncio.create_task(impatient.stat("n")) for _ in range(3 * THREADS)]
    told = await asyncio.gather(*attempts, return_exceptions=True)
    assert [error for error in told if not isinstance(error, Hung)] == []
    assert all(holds_share(error) for error in told if isinstance(error, Hung))
    assert len({id(error) for error in told}) == len(told)
    with pytest.raises(Hung):
        await impatient.put("m", b"text")
    assert not await impatient.is_current()
    impatient._timeout = SOON
    await impatient.reopen(accept)  # SIGKILL ends a stopped process, so nothing is in the way.
    assert await impatient.read("n", 10) == b"text"


async def test_hurry_shortens_the_waits_of_now_and_later(share: RemoteShare) -> None:
    stop(pid_of(share))
    attempt = asyncio.create_task(share.stat("n"))
    await asyncio.sleep(0)
    began = time.monotonic()
    share.hurry(0.2)
    with pytest.raises(Hung):
        await attempt
    assert time.monotonic() - began < 10.0  # it was 20
    share.hurry(5.0)
    assert share._timeout == 0.2


async def test_an_agent_that_stood_still_itself_gives_a_helper_more_time(
    impatient: RemoteShare,
) -> None:
    pid = pid_of(impatient)
    stop(pid)
    attempt = asyncio.create_task(impatient.stat("n"))
    await asyncio.sleep(0)
    time.sleep(2.0)
    asyncio.get_running_loop().call_later(0.05, os.kill, pid, signal.SIGCONT)
    assert await attempt is None


async def test_an_answer_that_came_while_the_agent_stood_still_counts(
    impatient: RemoteShare,
) -> None:
    attempt = asyncio.create_task(impatient.stat("n"))
    await asyncio.sleep(0)
    time.sleep(0.7)  # more than the timeout, less than what looks like standing still
    assert await attempt is None


# Copies.


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def test_small_calls_do_not_wait_behind_copies(share: RemoteShare, tmp_path: Path) -> None:
    source = sparse(tmp_path / "source", 64 * MI)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(source.open("rb")) for _ in range(THREADS + 2)]
        copies = [
            asyncio.create_task(share.put(f"n{number}", file)) for number, file in enumerate(files)
        ]
        await asyncio.sleep(0)
        await asyncio.gather(*(share.stat("n") for _ in range(20)))
        assert not any(copy.done() for copy in copies)
        for copy in copies:
            assert (await copy).size == 64 * MI


async def test_a_copy_that_nobody_waits_for_ends_and_leaves_nothing(
    share: RemoteShare, tmp_path: Path
) -> None:
    with sparse(tmp_path / "source", 1 << 40).open("rb") as file:
        copy = asyncio.create_task(share.put("n", file))
        folder = tmp_path / "share"
        await until(lambda: any(".part" in name for name in os.listdir(folder)), "it begins")
        copy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copy
        await until(lambda: os.listdir(folder) == [".roundtrip"], "it ends")
    await share.put("n", b"text")
    assert await share.read("n", 10) == b"text"


async def test_calls_that_nobody_waits_for_disturb_nobody(share: RemoteShare) -> None:
    tasks = [asyncio.create_task(share.put(f"n{number}", b"x")) for number in range(100)]
    await asyncio.sleep(0.002)
    for task in tasks[::2]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [each for each in done[1::2] if isinstance(each, BaseException)]
    names = set(await share.names())
    assert {f"n{number}" for number in range(1, 100, 2)} <= names


async def test_a_source_whose_offset_others_use_is_read_from_where_it_stood(
    share: RemoteShare, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"0123456789")
    with (tmp_path / "source").open("rb") as file:
        file.seek(4)
        found = await share.put("n", file)
        assert file.tell() == 4
    assert found.size == 6 and await share.read("n", 20) == b"456789"


@pytest.mark.parametrize(
    ("step", "seconds", "expected"),
    [
        (FIRST_STEP, 0.01, 2 * FIRST_STEP),
        (FIRST_STEP, 1.0, FIRST_STEP),
        (FIRST_STEP, 3.0, FIRST_STEP // 2),
        (32 * FIRST_STEP, 0.01, 32 * FIRST_STEP),
        (FIRST_STEP // 8, 9.0, FIRST_STEP // 8),
    ],
)
def test_a_step_of_a_copy_grows_and_shrinks_towards_a_second(
    step: int, seconds: float, expected: int
) -> None:
    assert next_step(step, seconds) == expected


def test_a_copy_tells_its_steps_and_flushes_each(tmp_path: Path) -> None:
    told: list[int] = []
    now = iter(range(100))
    with (tmp_path / "target").open("wb") as file:
        steps = Steps(told.append, lambda: next(now) / 100)
        for size in range(MI, 8 * MI, MI):
            steps(file.fileno(), size)
    assert told == [0, 2 * MI, 0, 0, 4 * MI, 0, 0]


# What the other end says, word for word: a scripted peer in place of the process.


class Peer:
    """The other end of the socket, which a test plays itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls, "start", self._start)

    def _start(self, end: socket.socket) -> subprocess.Popen[bytes]:
        self.end = end.dup()
        self.say(0, "done", 1)
        return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])

    async def take(self) -> tuple[object, ...]:
        message, descriptor = await asyncio.to_thread(wire.receive, self.end)
        if descriptor is not None:
            os.close(descriptor)
        return message

    def say(self, *message: object) -> None:
        wire.send(self.end, message)


@pytest.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    peer = Peer(monkeypatch)
    yield peer
    peer.end.close()


async def test_a_copy_that_goes_on_may_last_longer_than_the_timeout(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_SLOWEST", 1 << 40)
    helper = calls.Helper("share", 0.4)
    began = asyncio.get_running_loop().time()
    copy = asyncio.create_task(helper.call("put", size=MI))
    number = (await peer.take())[0]
    for _ in range(8):
        await asyncio.sleep(0.1)
        peer.say(number, "going on", MI)
    assert asyncio.get_running_loop().time() - began > 0.8
    peer.say(number, "done", "x")
    assert await copy == "x"
    helper.close()
    assert await helper.gone()


async def test_a_copy_may_take_time_in_proportion_to_its_step(peer: Peer) -> None:
    helper = calls.Helper("share", 0.1)
    copy = asyncio.create_task(helper.call("put", size=MI))  # 8 seconds more
    number = (await peer.take())[0]
    await asyncio.sleep(0.5)
    peer.say(number, "done", "x")
    assert await copy == "x"
    helper.close()
    assert await helper.gone()


async def test_a_defect_of_the_helper_is_a_defect_here(peer: Peer) -> None:
    helper = calls.Helper("share", SOON)
    attempt = asyncio.create_task(helper.call("stat", 0, "n"))
    number = (await peer.take())[0]
    peer.say(number, "defect", "KeyError: 'x'")
    with pytest.raises(RuntimeError, match="KeyError"):
        await attempt
    helper.close()
    assert await helper.gone()


async def test_only_as_many_calls_are_handed_over_as_there_are_threads(peer: Peer) -> None:
    helper = calls.Helper("share", SOON)
    await helper.begun()
    attempts = [asyncio.create_task(helper.call("stat", 0, str(each))) for each in range(20)]
    copies = [asyncio.create_task(helper.call("put", size=1)) for _ in range(20)]
    taken = [await peer.take() for _ in range(THREADS)]
    assert len(helper._in_hand) == THREADS
    for number, *_ in taken:
        peer.say(number, "done", None)
    for _ in range(20 - THREADS):
        number, *_ = await peer.take()
        peer.say(number, "done", None)
    await asyncio.gather(*attempts)
    taken = [await peer.take() for _ in range(THREADS // 2)]
    assert {operation for _, operation, *_ in taken} == {"put"}
    assert helper._copies == THREADS // 2
    helper.close()
    told = await asyncio.gather(*copies, return_exceptions=True)
    assert all(isinstance(error, OSError) for error in told)
    assert await helper.gone()
