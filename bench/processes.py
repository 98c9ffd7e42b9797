"""Processes of a contestant: start, find every descendant, account for them, end them by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Argv = Sequence[str | Path]  # a program and its arguments
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat (man 5 proc) that are needed here; times in seconds."""

    pid: int
    name: str
    parent: int
    session: int
    cpu: float  # its own and that of the children it has waited for
    zombie: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far; peak resident bytes and context switches of each live process."""

    cpu: float
    peak_rss: dict[str, int]
    voluntary_switches: int


def start(
    argv: Argv,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; its output is appended to `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )


def stat(pid: int) -> Stat | None:
    """What the kernel knows about a process; None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    cpu = sum(int(field) for field in fields[11:15]) / TICKS
    return Stat(pid, name, int(fields[1]), int(fields[3]), cpu, fields[0] == "Z")


def family(roots: Iterable[int]) -> list[Stat]:
    """The live processes below `roots`, by parent or by session, the roots included."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    everyone = [found for pid in pids if (found := stat(pid)) and not found.zombie]
    members = set(roots)
    while True:
        more = {p.pid for p in everyone if p.parent in members or p.session in members} - members
        if not more:
            return [p for p in everyone if p.pid in members]
        members |= more


def usage(roots: Iterable[int]) -> Usage:
    """CPU, memory and wake-ups of `roots` and all below them."""
    members = family(roots)
    peaks: dict[str, int] = {}
    switches = 0
    for member in members:
        status = _status(member.pid)
        key = f"{member.name}[{member.pid}]"
        peaks[key] = int(status.get("VmHWM", "0 kB").split()[0]) * 1024
        switches += _switches(member.pid)
    return Usage(sum(member.cpu for member in members), peaks, switches)


def resident_of(pid: int) -> int:
    """Resident bytes of one process at this moment."""
    return int(_status(pid).get("VmRSS", "0 kB").split()[0]) * 1024


def kill(roots: Sequence[subprocess.Popen[bytes]], signum: int = signal.SIGKILL) -> None:
    """Send a signal to `roots` and everything below them, each by its pid."""
    for member in family(root.pid for root in roots if root.poll() is None):
        try:
            os.kill(member.pid, signum)
        except ProcessLookupError:
            continue  # it ended by itself in between: that is what is wanted
    if signum == signal.SIGKILL:
        for root in roots:
            root.wait()


def end(roots: Sequence[subprocess.Popen[bytes]], patience: float = 5.0) -> None:
    """Ask `roots` to end, and kill what is left of their families after `patience` seconds."""
    members = [member.pid for member in family(root.pid for root in roots if root.poll() is None)]
    for root in roots:
        if root.poll() is None:
            root.terminate()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(root.poll() is None for root in roots):
        time.sleep(0.02)
    kill(roots)
    for pid in members:  # children whose parent ended before them
        left = stat(pid)
        if left and not left.zombie:
            os.kill(pid, signal.SIGKILL)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _switches(pid: int) -> int:
    """Voluntary context switches of all threads: /proc/PID/status has the main thread's only."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            lines = task.read_text(errors="replace").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
        values = [line.split()[1] for line in lines if line.startswith("voluntary_ctxt_switches")]
        total += sum(map(int, values))
    return total
