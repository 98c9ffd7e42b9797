"""A command run for each file that comes: `roundtrip watch`, incron, inotifywait in a loop."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench import cache, machine, processes, report
from bench.cache import Cache, default_folder
from bench.errors import Unavailable
from bench.peers.incron import CONFIG

RUN = """\
#!/bin/bash
echo "$EPOCHREALTIME ${1##*/}" >> "$2"
"""
LOOP = """\
inotifywait -q -m -e moved_to --format '%w%f' "$1" |
    while IFS= read -r file; do "$2" "$file" "$3"; done
"""
WARM = 20
PATIENCE = 120.0
QUIET = 3.0  # seconds without a run after which no more is expected


@dataclass(slots=True)
class Found:
    """What one contestant did."""

    latencies: list[float] = field(default_factory=list)
    missed: int = 0
    doubled: int = 0
    cpu: float = 0.0
    memory: int = 0


class Contestant(ABC):
    """Something that runs `run` for each file of `incoming`."""

    name: str

    def __init__(self, place: Path) -> None:
        self.place = place
        self.incoming = place / "incoming"
        self.log = place / "log"
        self.run = place / "run.sh"
        self.incoming.mkdir(parents=True)
        self.run.write_text(RUN)
        self.run.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it; also after it was killed."""

    def _start(self, words: list[str | Path], env: dict[str, str] | None = None) -> None:
        self.process = processes.start(words, self.place / "output", env)

    def killed(self) -> None:
        """kill -9 of the watcher itself; what it runs just now may go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def usage(self) -> processes.Usage:
        """CPU and memory of all its processes."""
        assert self.process is not None
        return processes.usage([self.process.pid])

    def end(self) -> None:
        """End all of it."""
        if self.process is not None:
            processes.end([self.process])


class Roundtrip(Contestant):
    """`roundtrip watch --exec`, with its journal on disk."""

    name = "roundtrip watch"

    def start(self) -> None:
        program = Path(sys.executable).parent / "roundtrip"
        words: list[str | Path] = [program, "watch", self.incoming, "--state", self.place / "state"]
        self._start([*words, "-j", "2", "--on", "moved_to", "--exec", self.run, "{path}", self.log])


class Incron(Contestant):
    """incrond in the foreground, as Debian packages it, with a table of its own."""

    name = "incron"

    def __init__(self, place: Path, packages: Cache) -> None:
        super().__init__(place)
        if os.geteuid() != 0:
            raise Unavailable("incrond reads a configuration of its own only as root")
        self._root = packages.debian("incron", ["incron"])
        for folder in ("tables", "users"):
            (place / "incron" / folder).mkdir(parents=True)
        root = place / "incron"
        (root / "incron.conf").write_text(CONFIG.format(root=root))
        line = f"{self.incoming} IN_MOVED_TO {self.run} $@/$# {self.log}\n"
        (root / "tables/bench").write_text(line)

    def start(self) -> None:
        root = self.place / "incron"
        Path(root / "lock.pid").unlink(missing_ok=True)  # A killed one leaves it behind.
        words: list[str | Path] = [self._root / "usr/sbin/incrond", "-n"]
        self._start([*words, "-f", root / "incron.conf"], cache.libraries(self._root))


class Inotifywait(Contestant):
    """`inotifywait -m | while read`, as people write it."""

    name = "inotifywait"

    def __init__(self, place: Path, packages: Cache) -> None:
        super().__init__(place)
        self._env = {}
        if not shutil.which("inotifywait"):
            root = packages.debian("inotify-tools", ["inotify-tools"])
            path = f"{root}/usr/bin:{os.environ['PATH']}"
            self._env = {"PATH": path, **cache.libraries(root)}

    def start(self) -> None:
        self._start(["bash", "-c", LOOP, "bash", self.incoming, self.run, self.log], self._env)

    def killed(self) -> None:
        assert self.process is not None
        processes.kill([self.process])  # The loop and inotifywait: the one is nothing without.


def main(arguments: list[str]) -> int:
    """`scripts/bench watch`: everything to stdout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench watch", description=__doc__)
    parser.add_argument("--where", type=Path, default=Path(os.environ.get("TMPDIR", "/var/tmp")))
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, metavar="N", help="files a second")
    parser.add_argument("--kills", type=int, default=3, help="kill -9 so often, in a second run")
    options = parser.parse_args(arguments)
    facts = machine.facts(" ".join(["scripts/bench watch", *arguments]))
    facts["folder on"] = machine.filesystem(options.where)
    rows: list[report.Row] = [
        ("", "missed", "doubled", "p50 ms", "p99 ms", "CPU ms/file", "peak RSS MB")
    ]
    notes = []
    for kills in sorted({0, options.kills}):
        for make in (Roundtrip, Incron, Inotifywait):
            with tempfile.TemporaryDirectory(prefix="roundtrip-bench-", dir=options.where) as name:
                try:
                    one = _made(make, Path(name) / "one")
                except Unavailable as error:
                    notes.append(f"{make.name}: left out: {error}")
                    continue
                sys.stderr.write(f"{one.name}, {kills} kills\n")
                found = _measured(one, options.files, options.rate, kills)
            rows.append(
                _row(one.name + (f", {kills} kills" if kills else ""), found, options.files)
            )
    facts["load at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    lines = [f"{key}: {value}" for key, value in facts.items()]
    sys.stdout.write("\n".join([*lines, *notes, "", report.table(rows)]) + "\n")
    return 0


def _made(make: type[Contestant], place: Path) -> Contestant:
    if make is Roundtrip:
        return Roundtrip(place)
    return make(place, Cache(default_folder()))  # type: ignore[call-arg]


def _row(name: str, found: Found, files: int) -> report.Row:
    return (
        name,
        str(found.missed),
        str(found.doubled),
        f"{report.percentile(found.latencies, 0.50) * 1e3:.1f}",
        f"{report.percentile(found.latencies, 0.99) * 1e3:.1f}",
        f"{found.cpu / files * 1e3:.1f}",
        f"{found.memory / 1e6:.0f}",
    )


def _measured(one: Contestant, files: int, rate: float, kills: int) -> Found:
    found = Found()
    try:
        one.start()
        _warm_up(one)
        dropped, away = _feed(one, files, rate, kills, found)
        _wait(one, files)
        usage = one.usage()
        found.cpu += usage.cpu
        found.memory = sum(usage.peak_rss.values())
    finally:
        one.end()
    runs = _runs(one.log)
    counts = Counter(name for name, _ in runs)
    found.missed = sum(counts[name] == 0 for name in dropped)
    found.doubled = sum(counts[name] > 1 for name in dropped)
    began = dict(reversed(runs))  # The first run of each.
    found.latencies = [
        began[name] - when for name, when in dropped.items() if name in began and name not in away
    ]
    return found


def _warm_up(one: Contestant) -> None:
    """Files that don't count, until one is seen: then it watches."""
    for number in range(400):
        _drop(one, f"warm{number}")
        time.sleep(0.05)
        if number >= WARM and one.log.exists():
            time.sleep(1.0)
            return
    raise Unavailable("it does not run anything")


def _drop(one: Contestant, name: str) -> float:
    part = one.place / "part"
    part.write_bytes(b"x" * 2048)
    now = time.time()
    part.rename(one.incoming / name)
    return now


def _feed(
    one: Contestant, files: int, rate: float, kills: int, found: Found
) -> tuple[dict[str, float], set[str]]:
    """Drop all files; those while nothing was there to see them are told apart."""
    dropped: dict[str, float] = {}
    away: set[str] = set()
    at = {files * (number + 1) // (kills + 1) for number in range(kills)}
    begin = time.monotonic()
    for number in range(files):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        name = f"f{number:06}"
        dropped[name] = _drop(one, name)
        if number in at:
            found.cpu += one.usage().cpu
            one.killed()
            for more in range(5):
                extra = f"f{number:06}-{more}"
                dropped[extra] = _drop(one, extra)
                away |= {extra, name}
            one.start()
            time.sleep(1.0)
            begin += 1.0
    return dropped, away


def _wait(one: Contestant, files: int) -> None:
    """Until all has been run, or nothing more is."""
    end = time.monotonic() + PATIENCE
    seen, since = -1, time.monotonic()
    while time.monotonic() < end:
        now = len(_runs(one.log))
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET:
            return
        time.sleep(0.5)


def _runs(log: Path) -> list[tuple[str, float]]:
    lines = log.read_text().splitlines() if log.exists() else []
    words = [line.split() for line in lines]
    return [(name, float(when)) for when, name in words if not name.startswith("warm")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
