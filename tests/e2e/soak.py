"""Both agents for a long time, under mixed load and with faults; it ends with a balance sheet.

    scripts/soak --minutes 60 --seed 7

The first two fifths of the time have every fault, kills included. After that nobody is killed, so
that growth can be seen: in each of the remaining spans faults go on, then all rest, what is under
way must come to its end, and files, threads, memory and names are counted. Sent must be delivered,
failed as it should, or cancelled; nothing may be left waiting, come twice, or be mixed up. The seed
settles files and faults; what the agents are at by then is the machine's affair. As root and with
/dev/fuse, each host mounts the other one's share through a FUSE file system that hangs and breaks
(tests/mounts), and has a small disk of its own that is filled now and then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.e2e.api import Api
from tests.e2e.soak_books import Books, collect, collect_failed
from tests.e2e.soak_faults import Faults
from tests.e2e.soak_load import OWN, Load
from tests.e2e.soak_vitals import RULE, Point, growth, point
from tests.e2e.world import PATIENCE, Host, World, pipelines, wait_until

_MI = 1024 * 1024
_ROUGH = 0.4
_DISK = 384  # MiB
_RECOVERY = 20.0
_PATIENT = 0.8  # so often, a fault comes only once the last one is over
_LAST_WORD = 180.0
"""Seconds that everything under way is given to end, once the faults stop."""

_LOCAL = "127.0.0.1"
_MARK = "PYTHON_ROUNDTRIP_SOAK"
"""A variable that all our processes inherit; of others, helper processes keep nothing."""


@dataclass(slots=True)
class Sheet:
    """How it went; `faults` are the lines that must not be."""

    seed: int
    minutes: float
    mounts: bool
    balance: dict[str, int] = field(default_factory=dict)
    ways: dict[str, int] = field(default_factory=dict)
    mebibytes: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)
    breakages: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    status: dict[str, float] = field(default_factory=dict)
    longest_rest: float = 0.0
    stop_seconds: dict[str, float] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=lambda: {"a": [], "b": []})
    growth: str = ""
    faults: list[str] = field(default_factory=list)

    def show(self) -> str:
        """As text."""
        rows: dict[str, Any] = {
            "seed": self.seed,
            "minutes": self.minutes,
            "shares mounted through FUSE": "yes" if self.mounts else "no",
            **self.balance,
            "by way": _pairs(self.ways),
            "MiB handed in": round(self.mebibytes, 1),
            "API calls": _pairs(self.calls),
            "broken": _pairs(self.breakages),
            "restarts after kills": _pairs(self.restarts),
            "status": _pairs(self.status),
            "longest wait for rest, seconds": round(self.longest_rest, 1),
            "SIGTERM to the end, seconds": _pairs(self.stop_seconds),
            "growth": self.growth,
            "load average at the end": os.getloadavg(),
            "faults": len(self.faults),
        }
        lines = [f"{name:34}{value}" for name, value in rows.items()]
        for role, points in self.points.items():
            lines += [f"{role}: {each.show()}" for each in points]
        return "\n".join(lines + [RULE] + [f"FAULT {fault}" for fault in self.faults])


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))


class Soak:
    """One run in a world of its own."""

    def __init__(
        self, world: World, api: Api, seed: int, seconds: float, points: int, rate: float
    ) -> None:
        random = Random(seed)
        self._world = world
        self._api = api
        self._seconds = seconds
        self._pace = Random(seed + 2)
        self._points = points
        self._books = Books()
        self._load = Load(world, self._books, random, rate=rate)
        mount_of = getattr(world, "mount_of", None)  # As a mounted world has.
        mounts = {each.role: mount_of(each) for each in (world.a, world.b)} if mount_of else {}
        self._faults = Faults(
            world, api, self._load, Random(seed + 1), mounts=mounts, disks=_can_mount(),
            longest=min(6.0, max(seconds / 40, 0.5)),
        )  # fmt: skip
        self._began = time.monotonic()
        self._over = threading.Event()
        self.sheet = Sheet(seed, round(seconds / 60, 2), bool(mounts))

    def run(self) -> Sheet:
        """Load and faults; then count."""
        self._world.start()
        helpers = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (self._collect, self._ask_for_status)
        ]
        for thread in helpers:
            thread.start()
        self._load.start()
        try:
            self._break_things()
        finally:
            self._over.set()
            self._load.stop()
            for thread in helpers:
                thread.join(60)
        self._end()
        return self.sheet

    def _break_things(self) -> None:
        self._strike_for(self._seconds * _ROUGH, kills=True)
        self._rest()
        for _ in range(self._points):
            self._load.go_on()
            self._strike_for(self._seconds * (1 - _ROUGH) / self._points, kills=False)
            self._rest()
            self._take_points()

    def _strike_for(self, seconds: float, *, kills: bool) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            struck = self._faults.strike(kills=kills)
            self._say(f"{struck}; {len(self._books.waiting())} under way")
            for host in (self._world.a, self._world.b):
                self._note_end(host)
            if self._pace.random() < _PATIENT:
                self._until_work_goes_on()

    def _until_work_goes_on(self) -> None:
        """A slow machine would never get anything done, if the next fault came at once."""
        books = self._books
        with contextlib.suppress(AssertionError):  # Who can't recover is noticed at the next rest.
            for host in (self._world.a, self._world.b):
                host.wait_ready(_RECOVERY)
            ended = books.ended()
            wait_until(
                lambda: books.ended() > ended or not books.waiting(), "progress", _RECOVERY, 0.05
            )
        time.sleep(min(2.0, self._seconds / 60))  # Time for load: nothing else is waited for.

    def _note_end(self, host: Host) -> None:
        """An agent that ends by itself is a fault, and is started again."""
        assert host.process is not None
        if (code := host.process.poll()) is not None:
            self.sheet.faults.append(f"agent {host.role} ended by itself: {code}")
            host.end()
            host.start(ready=False)

    def _rest(self) -> None:
        """Hand nothing in until everything has come to its end."""
        began = time.monotonic()
        self._load.rest()
        try:
            wait_until(lambda: not self._books.waiting(), "everything has ended", _LAST_WORD, 0.1)
            wait_until(self._load.resting.is_set, "applications have ended", _LAST_WORD, 0.1)
            wait_until(lambda: not self._world.under_way(), "nothing under way", _LAST_WORD, 0.1)
        except AssertionError as error:
            waiting = self._books.waiting()[:5]
            self.sheet.faults.append(f"{error}: {waiting}, {self._world.under_way()}")
        self.sheet.longest_rest = max(self.sheet.longest_rest, time.monotonic() - began)

    def _take_points(self) -> None:
        with contextlib.suppress(AssertionError):  # What is left at the end is told then.
            self._world.wait_swept(5)
        for host in (self._world.a, self._world.b):
            found = point(host, (time.monotonic() - self._began) / 60)
            self.sheet.points[host.role].append(found)
            self._say(f"{host.role}: {found.show()}")

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", file=sys.stderr, flush=True)

    def _collect(self) -> None:
        """The application that takes away what is delivered."""
        while not self._over.wait(0.05):
            collect(self._world.inbox, self._books, but=OWN)
            collect_failed(self._world.failed, self._books)

    def _ask_for_status(self) -> None:
        told, times = self.sheet.status, list[float]()
        while not self._over.wait(min(5.0, self._seconds / 20)):
            for host in (self._world.a, self._world.b):
                began = time.monotonic()
                try:
                    host.run("status", "--json", seconds=PATIENCE)
                except subprocess.TimeoutExpired:
                    self.sheet.faults.append(f"status of {host.role}: no answer in {PATIENCE:g} s")
                took = round(time.monotonic() - began, 2)
                worst = f"worst of {host.role}, s"
                told[worst] = max(told.get(worst, 0.0), took)
                times.append(took)
        told |= {"asked": len(times), "over 1 s": sum(took > 1 for took in times)}
        told["median, s"] = median(times) if times else 0.0

    def _end(self) -> None:
        sheet, world, books = self.sheet, self._world, self._books
        with contextlib.suppress(AssertionError):  # It is told below.
            world.wait_swept(PATIENCE)
        collect(world.inbox, books)
        collect_failed(world.failed, books)
        for host in (world.a, world.b):
            began = time.monotonic()
            if (code := host.stop()) != 0:
                sheet.faults.append(f"agent {host.role} ended with {code} on SIGTERM")
            sheet.stop_seconds[host.role] = round(time.monotonic() - began, 2)
        sheet.balance, sheet.ways = books.sheet(), dict(books.ways)
        sheet.mebibytes = books.size() / _MI
        least, most = books.calls()
        sheet.calls = {
            "made": sum(self._api.calls.values()),
            "needed": least,
            "with the cancelled": most,
        }
        sheet.breakages, sheet.restarts = dict(self._faults.done), dict(self._faults.restarts)
        sheet.faults += [*books.faults, *self._left(), *self._grown()]
        sheet.faults += [f"lost: {name}" for name in books.waiting()]
        sheet.faults += ["doubled"] * sheet.balance["doubled"]
        sheet.faults += [f"log: {line}" for line in world.defects()]

    def _left(self) -> Iterator[str]:
        world = self._world
        yield from (f"left in {where}: {names}" for where, names in world.leftovers().items())
        for path in world.b.folder("quarantine").iterdir():
            yield f"quarantined: {path.name}"
        yield from (f"process left: {words}" for words in _processes_left())

    def _grown(self) -> list[str]:
        found = [
            f"{role}: {line}"
            for role, points in self.sheet.points.items()
            for line in growth(points)
        ]
        enough = all(growth([each] * len(points)) == [] and len(points) > 6
                     for points in self.sheet.points.values() for each in points[:1])  # fmt: skip
        self.sheet.growth = "; ".join(found) or ("no growth" if enough else "not judged: too short")
        return found


def _can_mount() -> bool:
    return os.geteuid() == 0


def _processes_left() -> Iterator[str]:
    """Processes of the agents that are there without them: they inherited our mark."""
    mark = f"{_MARK}={os.environ.get(_MARK)}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended.
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            ours = int(path.name) == os.getpid() or "shaky_fs" in words
            if not ours and mark in (path / "environ").read_bytes().split(b"\0"):
                yield words


@contextlib.contextmanager
def _disks(folder: Path) -> Iterator[None]:
    """A small disk for each host, where we may make one."""
    made = []
    try:
        for name in ("hostA", "hostB") if _can_mount() else ():
            (folder / name).mkdir(parents=True)
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={_DISK}m", "soak", folder / name], check=True
            )
            made.append(folder / name)
        yield
    finally:
        for path in made:
            subprocess.run(["umount", "-l", path], check=False)


def _world(folder: Path, url: str) -> World:
    timing = {"heartbeat": "2s", "rescan": "20s", "share_timeout": "2s", "stop_timeout": "5s"}
    steps = pipelines(url)
    for pipeline in steps.values():
        for step in pipeline["steps"]:
            step["retry"] = {"attempts": 10_000, "max_delay": "1s"}
    breaker = {"pause": "500ms", "max_pause": "1s"}
    common = {"timing": timing, "limits": {"reserve": "16MiB", "attempts": 1000, "answers": 1000}}
    b = {**common, "pipelines": steps, "hosts": {_LOCAL: {"breaker": breaker}}}
    from tests.conftest import missing

    kind = World
    if not missing("fuse"):
        from tests.mounts.world import MountedWorld

        kind = MountedWorld
    world = kind(folder, url, a={**common, "archive": False}, b=b)
    for host in (world.a, world.b):  # Not on the small disk.
        host.log = folder / f"agent-{host.role}.log"
    return world


def run(folder: Path, seed: int, seconds: float, points: int = 10, rate: float = 3.0) -> Sheet:
    """A whole run in `folder`."""
    os.environ[_MARK] = str(folder)
    with _disks(folder), Api() as api, _world(folder, api.url) as world:
        return Soak(world, api, seed, seconds, points, rate).run()


def main() -> int:
    """The command `scripts/soak`."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=float, default=3.0, help="files handed in a second")
    parser.add_argument("--points", type=int, default=10, help="times that vitals are taken")
    parser.add_argument("--json", action="store_true", help="the sheet as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    args = parser.parse_args()
    print(f"scripts/soak --minutes {args.minutes:g} --seed {args.seed} --rate {args.rate:g} "
          f"--points {args.points}", file=sys.stderr, flush=True)  # fmt: skip
    # Told to end, it takes its mounts with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="roundtrip-soak-"))
    sheet = run(folder / "world", args.seed, args.minutes * 60, args.points, args.rate)
    print(json.dumps(asdict(sheet), indent=2) if args.json else sheet.show())
    if sheet.faults or args.keep:
        print(f"logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if sheet.faults else 0


if __name__ == "__main__":
    sys.exit(main())
