"""What a contestant costs while nothing happens, and how long its command takes to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.arrivals import Arrivals
from bench.measure import Drive
from bench.peers.base import Peer


@dataclass(frozen=True, slots=True)
class Idle:
    """Over `seconds`: wake-ups (voluntary context switches) and CPU; resident bytes at the end."""

    seconds: float
    wakeups: int
    cpu: float
    resident: dict[str, int]


def idle(peer: Peer, arrivals: Arrivals, seconds: float = 20.0) -> Idle:
    """Let a peer that has worked a little rest, and count."""
    Drive(peer, arrivals).warm_up()
    time.sleep(3)  # what a few exchanges leave to be tidied up
    before = peer.usage()
    time.sleep(seconds)
    after = peer.usage()
    members = processes.family(peer.roots())
    resident = {
        f"{peer.names.get(each.pid, each.name)}[{each.pid}]": processes.resident_of(each.pid)
        for each in members
    }
    wakeups = after.voluntary_switches - before.voluntary_switches
    return Idle(seconds, wakeups, after.cpu - before.cpu, resident)


def start_up(runs: int = 20) -> dict[str, tuple[float, float]]:
    """Minimum and median seconds of `roundtrip --version` and of Python doing nothing."""
    python = Path(sys.executable)
    commands = {
        "python3 -c pass": [str(python), "-c", "pass"],
        "roundtrip --version": [str(python.parent / "roundtrip"), "--version"],
    }
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, argv in commands.items():
            found[name].append(_timed(argv))
    return {name: (min(each), statistics.median(each)) for name, each in found.items()}


def _timed(argv: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
