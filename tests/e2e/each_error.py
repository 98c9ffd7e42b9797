"""Each system call of an exchange fails once in a running agent, which must go on by itself.

strace(1) is attached to an agent at work and lets the n-th rename, unlink, fsync, write, openat or
close of each thread fail with an errno; n counts up until exchanges run without being hit. With
SIGKILL in place of an errno it hits the share's helper process, where there is one: the agent lives
on. Each time, the results must come once, bit for bit, and nothing may be left anywhere. Calls that
the interpreter makes for itself, of a module that it imports late, say, are hit as well.

A call that is made to fail has no effect. So a descriptor whose close(2) fails stays open, other
than under Linux: the agents are started anew after that.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from tests.e2e.api import Api
from tests.e2e.each_step import Findings
from tests.e2e.payloads import Sample, sample
from tests.e2e.world import Host, World, wait_until
from tests.processes import children

CALLS = ("renameat2", "renameat", "unlinkat", "fsync", "fdatasync", "write", "openat", "close")
ERRORS = ("EIO", "ENOSPC", "EINTR", "ESTALE")
KILL = "SIGKILL"

LARGE = 1_200_000
"""Bytes that make a payload one that is copied by a thread."""

_QUIET = {"heartbeat": "1h", "rescan": "1h"}
"""What an agent does by the clock would be hit in the exchange's place."""

_IS_ATTACHED = 10.0
_END = 30.0


class EachError:
    """Rounds of two exchanges; the world and its agents are used again and again."""

    def __init__(self, world: World, tell: Callable[[str], None]) -> None:
        self._world = world
        self._tell = tell
        self._round = 0
        self.findings = Findings()

    def walk(self, host: Host, call: str, error: str, step: int = 1) -> None:
        """Hit the first, second, ... such call, every `step`-th, until none is hit."""
        number = 1
        while self._is_hit(host, call, error, number):
            number += step
        self.findings.moments[f"{host.role} {call} {error}"] = (number - 1) // step
        self._tell(f"{host.role} {call} {error}")

    def _is_hit(self, host: Host, call: str, error: str, number: int) -> bool:
        trace = self._world.folder / "trace"
        what = f"signal={KILL}" if error == KILL else f"error={error}"
        with _attached(host, trace, call, f"{what}:when={number}", helpers_only=error == KILL):
            samples = self._hand_in()
            with contextlib.suppress(AssertionError):  # What is missing is told below.
                wait_until(lambda: self._is_over(len(samples)), "the end", _END)
        hit = "(INJECTED)" in trace.read_text() or "killed by SIGKILL" in trace.read_text()
        moment = f"{host.role}: {call} number {number}: {error}"
        with contextlib.suppress(AssertionError):
            self._world.wait_swept(5)
        faults = list(self._faults(samples, host))
        self.findings.faults += [f"{moment}: {fault}" for fault in faults]
        self._clear()
        if faults or (call == "close" and hit):
            self._start_again()
        return hit

    def _hand_in(self) -> list[Sample]:
        self._round += 1
        random = Random(self._round)
        kinds = (("csv", 300), ("bin", LARGE))
        samples = [sample(random, f"{self._round}-{kind}.{kind}", size) for kind, size in kinds]
        for each in samples:
            self._world.drop(each.name, each.content)
        return samples

    def _is_over(self, count: int) -> bool:
        world = self._world
        return len(list(world.inbox.iterdir())) >= count and not world.under_way()

    def _faults(self, samples: list[Sample], host: Host) -> Iterator[str]:
        world = self._world
        process = host.process
        if process is None or process.poll() is not None:
            yield f"the agent has ended: {process and process.returncode}"
        expected = Counter((each.name, each.result) for each in samples)
        found = Counter((path.name, path.read_bytes()) for path in world.inbox.iterdir())
        yield from (f"lost {name}" for name, _ in expected - found)
        yield from (f"not asked for: {name}" for name, _ in found - expected)
        yield from (f"left in {where}: {names}" for where, names in world.leftovers().items())
        yield from (f"failed: {path.name}" for path in world.failed.iterdir())
        yield from (f"quarantined: {p.name}" for p in world.b.folder("quarantine").iterdir())
        yield from (f"log: {line}" for line in world.defects() if not _is_torn(line))

    def _clear(self) -> None:
        world = self._world
        folders = [world.inbox, world.failed, world.outbox, world.b.folder("quarantine")]
        for folder in [*folders, *(world.a.folder(n) for n in ("archive", "state/pending"))]:
            for path in folder.iterdir():
                path.unlink()
        for host in (world.a, world.b):
            host.log.write_bytes(b"")

    def _start_again(self) -> None:
        for host in (self._world.a, self._world.b):
            host.end()
        self._world.start()


def _is_torn(line: dict[str, object]) -> bool:
    """A log line whose write was the one that failed."""
    return line["event"] == "not JSON"


@contextlib.contextmanager
def _attached(
    host: Host, trace: Path, call: str, inject: str, *, helpers_only: bool
) -> Iterator[None]:
    """strace on all threads of the agent and of its helper process, until the block ends."""
    helpers = sorted(children(host.pid))
    pids = helpers if helpers_only else [host.pid, *helpers]
    told = trace.with_suffix(".told")
    trace.write_bytes(b"")
    with told.open("wb") as errors:
        strace = subprocess.Popen(
            ["strace", "-f", "-o", trace, "-e", f"trace={call}", "-e", f"inject={call}:{inject}",
             *(word for pid in pids for word in ("-p", str(pid)))],
            stdin=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    try:
        wait_until(lambda: _count(told, "attached") >= len(pids), "strace is there", _IS_ATTACHED)
        yield
    finally:
        strace.terminate()
        strace.wait(_IS_ATTACHED)


def _count(path: Path, word: str) -> int:
    return path.read_text(errors="replace").count(word)


def run(
    folder: Path,
    role: str,
    *,
    access: str,
    calls: Iterable[str] = CALLS,
    errors: Iterable[str] = ERRORS,
    step: int = 1,
    tell: Callable[[str], None] = lambda walked: None,
) -> Findings:
    """Walk all errors of all calls of one role's agent, whose mounted share has this `access`.

    Only every `step`-th call is hit; `tell` is told what has been walked.
    """
    with Api() as api:
        settings = {"timing": _QUIET}
        world = World(folder, api.url, a=settings, b=settings)
        with world:
            victim = world.a if role == "a" else world.b
            _set_access(victim, access)
            world.start()
            walk = EachError(world, tell)
            for call in calls:
                for error in errors:
                    walk.walk(victim, call, error, step)
            return walk.findings


def _set_access(host: Host, access: str) -> None:
    settings = json.loads(host.config.read_text())
    name = "unenriched" if host.role == "a" else "enriched"
    settings["shares"][name] = {"path": settings["shares"][name], "access": access}
    host.config.write_text(json.dumps(settings))
