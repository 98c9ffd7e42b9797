"""The measurements: latency one by one, throughput of many, and what kill -9 does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import workload
from bench.arrivals import Arrivals
from bench.errors import Unavailable
from bench.peers.base import Peer

PATIENCE = 10.0  # seconds that one exchange may take


@dataclass(slots=True)
class Result:
    """What one run of one contestant showed; times in seconds, memory in bytes."""

    latencies: list[float] = field(default_factory=list)
    missing: int = 0  # latency, throughput: files without a correct answer in time
    wrong: int = 0  # answers that were there and differed
    done: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    peak_rss: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    stuck: int = 0


class Drive:
    """Drops files into a running peer and sees their answers arrive."""

    def __init__(self, peer: Peer, arrivals: Arrivals) -> None:
        self.peer = peer
        self.arrivals = arrivals
        self.staged = peer.place / "staged"

    def stage(self, names: list[str]) -> None:
        """Prepare input files."""
        workload.stage(self.staged, names)

    def drop(self, name: str) -> float:
        """Drop one file; the time just before."""
        before = time.perf_counter()
        workload.drop(self.staged, self.peer.input, name)
        return before

    def await_one(self, name: str, began: float) -> float | None:
        """Seconds until the correct answer to `name` was there; None if it wasn't in time."""
        while (left := began + PATIENCE - time.perf_counter()) > 0:
            for arrival in self.arrivals.wait(left):
                if arrival.name == name and workload.correct(self.peer.output / name):
                    return arrival.time - began
        return None

    def warm_up(self, count: int = 20) -> None:
        """Wait until the peer answers at all, then let it do a few."""
        names = [f"wake-{number:04}.json" for number in range(120)]
        woken = self.wake(names)
        self._await_all(set(names[:woken]), 5.0)
        for left in self.peer.input.glob("wake-*"):
            if not workload.correct(self.peer.output / left.name):
                left.unlink(missing_ok=True)  # dropped before it was listening; others it removes
        more = [f"warm-{number:04}.json" for number in range(count)]
        self.stage(more)
        for name in more:
            self.await_one(name, self.drop(name))

    def wake(self, names: list[str]) -> int:
        """Drop `names` one by one until any answer arrives; how many it took."""
        self.stage(names)
        for number, name in enumerate(names):
            self.drop(name)
            if self.arrivals.wait(0.5):
                return number + 1
            if self.peer.dead():
                break
        raise Unavailable(f"doesn't answer: {self.peer.last_words()}")

    def _await_all(self, names: set[str], seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            if all(workload.correct(self.peer.output / name) for name in names):
                break
            time.sleep(0.05)
        self.arrivals.wait(0)


def latency(
    peer: Peer, arrivals: Arrivals, count: int, pause: float = 0.0, budget: float = 40.0
) -> Result:
    """One exchange at a time, `pause` seconds apart; at most `count` or `budget` seconds."""
    drive = Drive(peer, arrivals)
    drive.warm_up()
    names = [f"f{number:06}.json" for number in range(count)]
    drive.stage(names)
    result = Result()
    before = peer.usage().cpu
    began = time.perf_counter()
    for name in names:
        taken = drive.await_one(name, drive.drop(name))
        if taken is None:
            result.missing += 1
        else:
            result.latencies.append(taken)
        if time.perf_counter() - began > budget:
            break
        time.sleep(pause)
    return _account(result, peer, before, len(result.latencies))


def throughput(peer: Peer, arrivals: Arrivals, count: int, budget: float = 90.0) -> Result:
    """All files at once; the time from the first drop to the last answer."""
    drive = Drive(peer, arrivals)
    drive.warm_up()
    names = [f"f{number:06}.json" for number in range(count)]
    drive.stage(names)
    before = peer.usage().cpu
    began = time.perf_counter()
    for name in names:
        drive.drop(name)
    left, last = set(names), began
    while left and time.perf_counter() - began < budget:
        time.sleep(0.002)  # events are taken in groups: the harness has the same two cores
        for arrival in arrivals.wait(1.0):
            left.discard(arrival.name)
            last = arrival.time
        if not left or time.perf_counter() - last > max(peer.quiet, PATIENCE):
            break
    result = Result(seconds=last - began, missing=len(left))
    result.wrong = sum(not workload.correct(peer.output / name) for name in set(names) - left)
    return _account(result, peer, before, count - len(left) - result.wrong)


def _account(result: Result, peer: Peer, cpu_before: float, done: int) -> Result:
    time.sleep(0.3)  # what is left to do after the last answer is part of the work
    usage = peer.usage()
    result.cpu, result.peak_rss, result.done = usage.cpu - cpu_before, usage.peak_rss, done
    return result


def kill9(peer: Peer, arrivals: Arrivals, count: int, seed: int, kills: int = 4) -> Result:
    """Kill all agents at random points of the flow; see what is lost, doubled or stuck at the end.

    The files come in `kills` + 1 bursts; a kill comes after a random number of a burst's answers,
    a tenth of the burst is dropped while nothing runs, then the agents are started again, and the
    next burst waits until they answer: how long a start takes is not what is measured.
    """
    drive = Drive(peer, arrivals)
    drive.warm_up()
    names = [f"f{number:06}.json" for number in range(count)]
    drive.stage(names)
    watch = Witness(peer, arrivals)
    random_ = random.Random(seed)
    burst = count // (kills + 1)
    for number in range(kills):
        mine = names[number * burst : (number + 1) * burst]
        absent = mine[-burst // 10 :]
        for name in mine[: -len(absent)]:
            drive.drop(name)
        watch.until(random_.randrange(1, burst // 2), 5.0)
        peer.kill_agents()
        for name in absent:
            drive.drop(name)
        peer.start_agents()
        watch.until_back([f"back-{number}-{probe:03}.json" for probe in range(120)], drive)
    for name in names[kills * burst :]:
        drive.drop(name)
    watch.until_quiet(peer.quiet + 5, 120.0, count)
    return watch.verdict(names, kills)


class Witness:
    """Sees every answer that is completed, and how often."""

    def __init__(self, peer: Peer, arrivals: Arrivals) -> None:
        self._peer = peer
        self._arrivals = arrivals
        self._seen: dict[str, int] = {}
        self._torn: set[str] = set()

    def until(self, more: int, seconds: float) -> None:
        """Watch until `more` answers have arrived from now on, or for `seconds`."""
        deadline = time.perf_counter() + seconds
        while more > 0 and (left := deadline - time.perf_counter()) > 0:
            more -= self._take(left)

    def until_back(self, probes: list[str], drive: Drive) -> None:
        """Drop probes, one each half second, until anything is answered again."""
        drive.stage(probes)
        for probe in probes:
            drive.drop(probe)
            if self._take(0.5):
                return
            if self._peer.dead():
                break
        raise Unavailable(f"doesn't come back after kill -9: {self._peer.last_words()}")

    def until_quiet(self, quiet: float, seconds: float, count: int) -> None:
        """Watch until nothing has arrived for `quiet` seconds, at most `seconds`."""
        deadline = time.perf_counter() + seconds
        last = time.perf_counter()
        while (now := time.perf_counter()) < deadline and now - last < quiet:
            if self._take(0.5):
                last = time.perf_counter()
            complete = sum(name.startswith("f") for name in self._seen) >= count
            if complete and now - last > min(quiet, 8.0):
                break  # all there, and long enough for a second copy to show up

    def verdict(self, names: list[str], kills: int) -> Result:
        """Compare what lies in the folders with what was dropped."""
        right = {name for name in names if workload.correct(self._peer.output / name)}
        there = set(os.listdir(self._peer.output))
        extra = {name for name in there if name.startswith("f")} - set(names)
        again = sum(1 for name in names if self._seen.get(name, 0) > 1)
        stuck = [name for name in os.listdir(self._peer.input) if name.startswith("f")]
        return Result(
            kills=kills,
            done=len(right),
            lost=len(names) - len(right),
            doubled=again + sum(not name.endswith(".tmp") for name in extra),
            torn=len(self._torn),
            stuck=len(stuck),
        )

    def _take(self, seconds: float) -> int:
        found = self._arrivals.wait(seconds)
        for arrival in found:
            self._seen[arrival.name] = self._seen.get(arrival.name, 0) + 1
            if not workload.correct(self._peer.output / arrival.name):
                self._torn.add(arrival.name)
        return len(found)


def floor(place: Path, count: int, api: str, pause: float = 0.0) -> Result:
    """The bare loop of bench/floor.py, in a process of its own."""
    argv = [sys.executable, "-m", "bench.floor", "--root", place, "--files", count, "--api", api]
    argv += ["--pause", pause]
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"the floor failed: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    return Result(
        latencies=found["latencies"][count // 10 :],  # the first ones warm up
        done=count - found["wrong"],
        wrong=found["wrong"],
        seconds=found["seconds"],
        cpu=found["cpu"],
        peak_rss={"python": found["rss"]},
    )
