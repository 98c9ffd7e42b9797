"""What systemd is told, on a real socket by a real agent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundtrip.agent.notify import Notifier
from tests.e2e.world import World

PIPELINES = "http://127.0.0.1:9"


class Manager:
    """A service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.settimeout(20)

    def next(self, besides: str = "WATCHDOG=1") -> list[str]:
        """The next message that isn't `besides`, line by line."""
        while (found := self._socket.recv(4096).decode()) == besides:
            continue
        return found.split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    name = f"@roundtrip-test-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/n"
    found = Manager(name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    yield found
    found.close()


def test_systemd_hears_when_the_agent_is_ready_reloads_and_stops(
    manager: Manager, tmp_path: Path
) -> None:
    with World(tmp_path / "world", PIPELINES) as world:
        world.b.start()
        assert manager.next() == ["READY=1", "STATUS=role b at work"]
        os.kill(world.b.pid, signal.SIGHUP)
        first, second = manager.next()
        assert first == "RELOADING=1" and second.removeprefix("MONOTONIC_USEC=").isdigit()
        assert manager.next()[0] == "READY=1"
        assert world.b.stop() == 0
        assert manager.next() == ["STOPPING=1"]


def test_the_watchdog_hears_from_an_agent_that_lives_and_not_from_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(f"{tmp_path}/n")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with World(tmp_path / "world", PIPELINES) as world:
        world.b.start()
        for _ in range(5):
            while manager.next("") != ["WATCHDOG=1"]:
                continue
        os.kill(world.b.pid, signal.SIGSTOP)
        _drain(manager)
        manager._socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.next("")
        os.kill(world.b.pid, signal.SIGCONT)
        manager._socket.settimeout(20)
        assert manager.next("") == ["WATCHDOG=1"]
    manager.close()


def _drain(manager: Manager) -> list[list[str]]:
    """What was said until now."""
    manager._socket.setblocking(False)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.next(""))
    return found


async def test_another_process_of_the_service_is_no_watchdogs_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager(f"{tmp_path}/n")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    notifier = Notifier()
    notifier.watch()
    notifier.close()
    assert _drain(manager) == []
    manager.close()


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("x")
    notifier.close()


def test_a_manager_that_has_gone_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    Notifier().ready("x")
