"""What an agent holds, taken at rest at some points of a soak, and whether it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.e2e.world import Host
from tests.processes import family

RULE = (
    "Points are taken at rest: nothing handed in, nothing under way. The first is warm-up. The"
    " median of the last third may exceed that of the first third of the others by: files 2,"
    " sockets 64 (B's idle connections to APIs), threads 4, processes 0, RSS 10 % or 8 MiB, names"
    " in state/ 8."
)
_ALLOWED = {
    "files": 2.0,
    "sockets": 64.0,
    "threads": 4.0,
    "processes": 0.0,
    "rss": 8.0,
    "state": 8.0,
}
_RSS_SHARE = 0.1
_FEWEST = 7


@dataclass(frozen=True, slots=True)
class Point:
    """Of one agent and its child processes. `rss` is in MiB.

    `state` counts names below state/, but not the records of answers that nobody has asked for yet:
    they stay for a week.
    """

    minute: float
    files: int
    sockets: int
    threads: int
    processes: int
    rss: float
    state: int

    def show(self) -> str:
        """One line."""
        return "  ".join(f"{key} {value:g}" for key, value in asdict(self).items())


def point(host: Host, minute: float) -> Point:
    """Look at a running agent now."""
    pids = list(family(host.pid))
    targets = [target for pid in pids for target in _descriptors(pid)]
    sockets = sum(target.startswith("socket:") for target in targets)
    return Point(
        minute=round(minute, 1),
        files=len(targets) - sockets,
        sockets=sockets,
        threads=sum(_field(pid, "Threads") for pid in pids),
        processes=len(pids),
        rss=round(sum(_field(pid, "VmRSS") for pid in pids) / 1024, 1),
        state=sum(
            len(files)
            for path, _, files in os.walk(host.folder("state"))
            if not path.endswith("/outcomes")
        ),
    )


def _descriptors(pid: int) -> Iterator[str]:
    folder = Path(f"/proc/{pid}/fd")
    for name in os.listdir(folder):
        try:
            yield os.readlink(folder / name)
        except FileNotFoundError:  # Closed since it was listed.
            continue


def _field(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


def growth(points: list[Point]) -> list[str]:
    """What has grown by `RULE`; nothing can be said of too few points."""
    if len(points) < _FEWEST:
        return []
    kept = points[1:]
    third = len(kept) // 3
    found = []
    for key, allowed in _ALLOWED.items():
        first, last = (
            median(getattr(point, key) for point in part) for part in (kept[:third], kept[-third:])
        )
        if key == "rss":
            allowed = max(allowed, first * _RSS_SHARE)
        if last > first + allowed:
            found.append(f"{key} grew from {first:g} to {last:g}")
    return found
