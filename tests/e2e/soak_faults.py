"""The faults of a soak: one after the other, each undone before the next begins."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.e2e.api import Api
from tests.e2e.soak_load import Load
from tests.e2e.world import Host, World

if TYPE_CHECKING:
    from tests.mounts.shaky import ShakyMount

_FLOOD = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 100
_SPARE = 64 * 1024
"""Bytes left on a disk that is said to be full."""


class Faults:
    """Breaks things in a world; `mounts` are the mounts that A and B write to, if there are any.

    `longest` is how many seconds a fault lasts at most.
    """

    def __init__(
        self,
        world: World,
        api: Api,
        load: Load,
        random: Random,
        *,
        mounts: dict[str, ShakyMount],
        disks: bool,
        longest: float,
    ) -> None:
        self._world = world
        self._api = api
        self._load = load
        self._random = random
        self._mounts = mounts
        self._longest = longest
        self.done: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()
        self.kills: dict[str, Callable[[Host], None]] = {
            "kill": self._kill,
            "kill both": self._both,
        }
        self.others: dict[str, Callable[[Host], None]] = {
            "agent stopped": self._stop_agent,
            "API down": self._api_down,
            "API hangs": self._api_hangs,
            "queue flooded": self._flood,
        }
        if disks:
            self.others["disk full"] = self._fill_disk
        if mounts:
            self.kills["kill while the mount hangs"] = self._kill_hung
            self.others |= {
                "mount hangs": self._hang,
                "mount fails": self._fail,
                "mount crashes": self._crash,
                "mount is slow": self._slow,
                "replies lost": self._lose_replies,
                "writes lost": self._lose_writes,
            }

    def strike(self, *, kills: bool) -> str:
        """One fault, chosen by the seed; returns its name."""
        choice = self.others | (self.kills if kills else {})
        name = self._random.choice(list(choice))
        host = self._random.choice((self._world.a, self._world.b))
        choice[name](host)
        self.done[name] += 1
        return f"{name} ({host.role})"

    def _last(self) -> None:
        # How long a fault lasts is nothing that could be waited for.
        time.sleep(self._random.uniform(0.2, self._longest))

    def _restart(self, *hosts: Host) -> None:
        for host in hosts:
            host.kill()
            self.restarts[host.role] += 1
            if self._random.random() < 0.3:
                self._last()
        for host in hosts:
            host.start(ready=False)

    def _kill(self, host: Host) -> None:
        self._restart(host)

    def _both(self, host: Host) -> None:
        self._restart(self._world.a, self._world.b)

    def _kill_hung(self, host: Host) -> None:
        mount = self._mounts[host.role]
        mount.freeze()
        try:
            self._last()
            os.kill(host.pid, signal.SIGKILL)  # It may have to wait for the mount to die.
        finally:
            mount.thaw()
        self._restart(host)

    def _stop_agent(self, host: Host) -> None:
        os.kill(host.pid, signal.SIGSTOP)
        try:
            self._last()
        finally:
            os.kill(host.pid, signal.SIGCONT)

    def _api_down(self, host: Host) -> None:
        self._api.failing = True
        self._last()
        self._api.failing = False

    def _api_hangs(self, host: Host) -> None:
        self._api.hold()
        self._last()
        self._api.release()

    def _flood(self, host: Host) -> None:
        """More events than the kernel's queue holds, of names that mean nothing."""
        folder = self._world.outbox if host.role == "a" else self._world.unenriched
        os.kill(host.pid, signal.SIGSTOP)
        try:
            for number in range(_FLOOD):
                path = folder / f".flood-{number}"
                path.touch()
                path.unlink()
        except OSError as error:
            raise AssertionError(f"the flood: {error}") from error
        finally:
            os.kill(host.pid, signal.SIGCONT)

    def _fill_disk(self, host: Host) -> None:
        filler = host.root / ".filler"
        with self._load.whole_disk:
            try:
                with filler.open("wb", buffering=0) as file:
                    self._take_all(file.fileno(), host.root)
                self._last()
            finally:
                filler.unlink()

    def _take_all(self, file: int, root: Path) -> None:
        with contextlib.suppress(OSError):  # Somebody was faster: it is full all the same.
            while (free := os.statvfs(root)).f_bavail * free.f_frsize > _SPARE:
                size = os.fstat(file).st_size
                os.posix_fallocate(file, size, free.f_bavail * free.f_frsize - _SPARE)

    def _hang(self, host: Host) -> None:
        mount = self._mounts[host.role]
        mount.freeze()
        try:
            self._last()
        finally:
            mount.thaw()

    def _fail(self, host: Host) -> None:
        error = self._random.choice(("EIO", "ESTALE", "ETIMEDOUT", "ENOSPC", "EACCES", "EROFS"))
        self._with_fault(host, "*", error=error)

    def _slow(self, host: Host) -> None:
        self._with_fault(host, "*", delay=0.02)

    def _lose_replies(self, host: Host) -> None:
        op = self._random.choice(("rename", "unlink", "create"))
        self._with_fault(host, op, error="EIO", after=True, times=3)

    def _lose_writes(self, host: Host) -> None:
        """Of requests only: our shell requester believes what it reads in an answer."""
        self._with_fault(self._world.a, "write", lose=True, times=2)

    def _with_fault(self, host: Host, op: str, **how: object) -> None:
        mount = self._mounts[host.role]
        mount.fault(op, **how)
        try:
            self._last()
        finally:
            mount.heal()

    def _crash(self, host: Host) -> None:
        mount = self._mounts[host.role]
        mount.crash()
        self._last()
        mount.detach()
        self._last()
        mount.mount()
