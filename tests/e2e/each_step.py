"""An agent is killed just before each single system call that changes anything on the disk.

strace(1) delivers SIGKILL at the n-th rename, unlink or fsync of the agent; n counts up until the
agent gets through. Each time, the agent is started again and the same must come out as without the
kill: every result once, bit for bit, and nothing left anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from roundtrip.client import AsyncClient
from tests.e2e.api import Api
from tests.e2e.payloads import Sample, sample
from tests.e2e.world import Host, World, visible, wait_until

CALLS = ("renameat2", "renameat", "unlinkat", "fsync")
STRACE = ("strace", "-D", "-f", "-qqq", "-o", "/dev/null")
_BROKEN = b"{not JSON"


@dataclass(slots=True)
class Findings:
    """How many moments were tried, and what went wrong at which."""

    moments: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class EachStep:
    """Rounds of a few exchanges, one for each moment; the world is used again and again."""

    def __init__(self, world: World, large: int) -> None:
        self._world = world
        self._large = large
        self._round = 0
        self._told = world.folder / "told"
        self._client = AsyncClient(world.a.config)
        self.findings = Findings()

    def walk(self, host: Host, call: str) -> None:
        """Kill `host`'s agent before its first, second, ... such call, until it gets through."""
        number = 1
        while self._survives(host, call, number):
            number += 1
        self.findings.moments[f"{host.role} {call}"] = number - 1

    def _survives(self, host: Host, call: str, number: int) -> bool:
        """One round; returns whether there was a kill."""
        samples, submitted = self._hand_in()
        inject = f"inject={call}:signal=KILL:when={number}"
        host.start(ready=False, under=(*STRACE, "-e", f"trace={call}", "-e", inject))
        process = host.process
        assert process is not None
        wait_until(lambda: process.poll() is not None or self._is_over(), "death or the end", 30)
        killed = process.poll() is not None
        if killed:
            host.end()
            host.start(ready=False)
        moment = f"{host.role} killed before {call} number {number}"
        # What is left is told with everything else that is wrong.
        with contextlib.suppress(AssertionError):
            wait_until(self._is_over, "the end", 15)
            self._world.wait_swept(1)
        self.findings.faults += [f"{moment}: {fault}" for fault in self._faults(samples, submitted)]
        host.stop() if host.process and host.process.poll() is None else host.end()
        self._clear()
        return killed

    def _hand_in(self) -> tuple[list[Sample], str]:
        self._round += 1
        random = Random(self._round)
        world = self._world
        kinds = (("csv", 300), ("bin", self._large), ("jsonl", 2000))
        samples = [
            sample(random, f"{self._round}-{n}.{k}", size) for n, (k, size) in enumerate(kinds)
        ]
        (world.outbox / "turn").mkdir(exist_ok=True)
        world.drop(samples[0].name, samples[0].content)
        world.drop(f"turn/{samples[1].name}", samples[1].content)
        world.drop("broken.json", _BROKEN)
        path = world.folder / samples[2].name
        path.write_bytes(samples[2].content)
        return samples, asyncio.run(self._client.submit(path))

    def _is_over(self) -> bool:
        world = self._world
        waiting = [path for path in world.outbox.rglob("*") if path.is_file()]
        kept = visible(world.b.folder("state/kept"))
        due = visible(world.a.folder("state/deliveries/tell")) != ["dead"]
        return not (waiting or kept or due or set(world.under_way()) - {"state/tickets"})

    def _faults(self, samples: list[Sample], submitted: str) -> Iterator[str]:
        world = self._world
        expected = Counter((s.name, s.result) for s in samples)
        found = Counter((path.name, path.read_bytes()) for path in world.inbox.iterdir())
        yield from (f"lost {name}" for name, _ in expected - found)
        yield from (f"not asked for: {name}" for name, _ in found - expected)
        yield from (f"left in {where}: {names}" for where, names in world.leftovers().items())
        told = len({line.partition("/")[0] for line in self._told.read_text().split()})
        if told != len(samples) + 1:
            yield f"{told} exchanges were delivered, of {len(samples) + 1}"
        failed = sorted(path.name for path in world.failed.iterdir())
        if failed != ["broken.json", "broken.json.problem.json"]:
            yield f"failed/ has {failed}"
        try:
            result = asyncio.run(self._client.wait(submitted, timeout=0.5))
            if result.read() != samples[2].result:
                yield f"the submitter was told of {result}"
        except Exception as error:
            yield f"the submitter was told {error!r}"
        yield from (f"log: {line}" for line in world.defects())

    def _clear(self) -> None:
        world = self._world
        self._told.write_bytes(b"")
        for name in ("inbox", "failed", "archive", "state/tickets", "state/outcomes"):
            _empty(world.a.folder(name))
        for path in list(world.folder.rglob(".*.part")):
            path.unlink(missing_ok=True)
        for host in (world.a, world.b):
            host.log.write_bytes(b"")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def run(
    folder: Path, role: str, calls: tuple[str, ...] = CALLS, large: int = 3_000_000
) -> Findings:
    """Walk all moments of one role's agent; the other one runs undisturbed."""
    note = 'echo "$ROUNDTRIP_ID" >> "$0"'
    tell = {
        "exec": ["sh", "-c", note, str(folder / "told")],
        "on": ["enriched", "partial", "failed"],
        "retry": {"min_delay": "50ms"},
    }
    with Api() as api, World(folder, api.url, a={"deliver": {"tell": tell}}) as world:
        victim, other = (world.a, world.b) if role == "a" else (world.b, world.a)
        other.start()
        walk = EachStep(world, large)
        for call in calls:
            walk.walk(victim, call)
        return walk.findings
