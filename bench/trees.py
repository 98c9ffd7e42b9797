"""A tree of many folders: how long until all of it is watched, at what cost, what is missed."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import machine, processes, report
from roundtrip.watch import Event, Kind, WatchSettings, fanotify_tree
from roundtrip.watch.tree import Tree

OURS = ("inotify", "fanotify", "fanotify, whole file system")
THEIRS = "inotifywait -r"
QUIET = 2.0  # seconds without anything new after which no more is expected
TURN = 20  # folders made before the next pause


def main(arguments: list[str]) -> int:
    """`scripts/bench tree`: everything to stdout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench tree", description=__doc__)
    parser.add_argument("--where", type=Path, default=Path(os.environ.get("TMPDIR", "/var/tmp")))
    parser.add_argument("--folders", type=int, default=50_000)
    parser.add_argument("--new", type=int, default=1000, help="folders that come, a file in each")
    parser.add_argument("--watch", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args(arguments)
    if options.watch:
        return asyncio.run(_watch(options.watch, options.where))
    facts = machine.facts(" ".join(["scripts/bench tree", *arguments]))
    facts["tree on"] = machine.filesystem(options.where)
    rows: list[report.Row] = [
        ("", "ready s", "listed s", "RSS MB", "marks", "told by events", "told with listings")
    ]
    with tempfile.TemporaryDirectory(prefix="roundtrip-bench-", dir=options.where) as name:
        top = Path(name) / "tree"
        _plant(top, options.folders)
        for contestant in (*OURS, THEIRS):
            sys.stderr.write(f"{contestant}\n")
            rows.append(_measured(contestant, top, options.new))
    facts["load at the end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    lines = [f"{key}: {value}" for key, value in facts.items()]
    title = f"{options.folders:,} folders, {options.new:,} new ones"
    sys.stdout.write("\n".join([*lines, "", title, report.table(rows)]) + "\n")
    return 0


def _plant(top: Path, folders: int) -> None:
    for number in range(folders):
        os.makedirs(top / f"{number // 2500:02}" / f"{number // 50 % 50:02}" / f"{number % 50:02}")


class _Seen:
    """What a contestant said, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.last = time.monotonic()
        self.ready = threading.Event()
        for pipe in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe: object) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            self.lines.append(line.rstrip("\n"))
            self.last = time.monotonic()
            if line.startswith(("ready ", "Watches established")):
                self.ready.set()


def _measured(contestant: str, top: Path, new: int) -> report.Row:
    words = [sys.executable, "-m", "bench.trees", "--watch", contestant, "--where", str(top)]
    if contestant == THEIRS:
        if not shutil.which("inotifywait"):
            return (contestant, "not installed (inotify-tools)", "", "", "", "", "")
        words = ["inotifywait", "-r", "-m", "-e", "close_write", "--format", "event %w%f", str(top)]
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        seen = _Seen(process)
        if not seen.ready.wait(600):
            raise RuntimeError(f"{contestant} was never ready: {seen.lines[-3:]}")
        ready = time.monotonic() - began
        told = [line.split() for line in seen.lines if line.startswith("ready ")]
        resident = processes.resident_of(process.pid) / 1e6
        marks = _marks(process.pid)
        names = _grow(top, new)
        while time.monotonic() - seen.last < QUIET:
            time.sleep(0.1)
        events = {os.path.basename(each) for each in seen.lines if each.startswith("event ")}
        listed = {os.path.basename(each) for each in seen.lines if each.startswith("listed ")}
        shutil.rmtree(top / "new")
    finally:
        process.kill()
        process.wait()
    return (
        contestant,
        f"{float(told[0][1]):.3f}" if told else f"{ready:.2f}",
        f"{float(told[0][2]):.2f}" if told else "-",
        f"{resident:.0f}",
        f"{marks:,}",
        f"{len(events & names):,}",
        f"{len((events | listed) & names):,}" if told else "-",
    )


def _marks(pid: int) -> int:
    """The marks that the kernel holds for a process (proc_pid_fdinfo(5))."""
    found = 0
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = info.read_text()
        except FileNotFoundError:  # Closed meanwhile.
            continue
        found += text.count("inotify wd:") + text.count("fanotify ino:")
        found += text.count("fanotify sdev:")
    return found


def _grow(top: Path, new: int) -> set[str]:
    """New folders, each with a file that is closed at once: nobody can be quick enough."""
    names = set()
    for number in range(new):
        folder = top / "new" / f"{number}" / "deep"
        os.makedirs(folder)
        name = f"file{number}"
        (folder / name).write_text("x")
        names.add(name)
        if number % TURN == TURN - 1:
            time.sleep(0.05)
    return names


class _Ours:
    """One of our backends: says when it is ready, then what events told, and what listings."""

    def __init__(self, contestant: str, top: Path) -> None:
        if contestant == "fanotify":  # As for a user without privileges.
            fanotify_tree.refused_filesystem = lambda path: "not in this run"
        self._wanted: list[str] = []
        self._wake = asyncio.Event()
        settings = WatchSettings(contestant.partition(",")[0])
        self._tree = Tree(self._deliver, settings, top, frozenset({Kind.CLOSED}), deep=True)

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            path = f"{event.folder}/{event.name}" if event.folder else event.name
            if event.kind is Kind.CLOSED:
                _say(f"event {path}")
            elif event.kind in (Kind.FOLDER, Kind.RESCAN):
                self._wanted.append(path)
        self._wake.set()

    async def run(self, began: float) -> int:
        ready = time.monotonic() - began
        for _ in self._tree.walk():
            pass
        listed = time.monotonic() - began
        _say(f"ready {ready if 'whole' in self._tree.backend else listed} {listed}")
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                for here, entries in self._tree.walk(self._wanted.pop()):
                    for entry in entries:
                        _say(f"listed {here}/{entry.name}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _watch(contestant: str, top: Path) -> int:
    began = time.monotonic()
    return await _Ours(contestant, top).run(began)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
