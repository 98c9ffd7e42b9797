"""The protocol on a user's own share: real folders, real time, our own faults on top.

    python -m roundtrip.testing.torture TASK

TASK is JSON: `share`, `name` and `private` (folders), `seconds`, `seed`; or `remove`, a folder.

The process that does it may be killed at any moment: on a mount that hangs, it hangs, too. It
prints one JSON object, the report; or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from roundtrip.errors import RoundtripError
from roundtrip.testing.faults import Faults
from roundtrip.testing.ground import Ground, check, sweep
from roundtrip.testing.real import RealStorage
from roundtrip.testing.rules import Rules
from roundtrip.testing.staff import Terms
from roundtrip.testing.storage import Files
from roundtrip.testing.timing import Timings
from roundtrip.testing.wishes import (
    LEFT_BY_NOBODY,
    Wish,
    delivery_faults,
    endless_wishes,
    is_done,
    leftovers,
    original_faults,
)
from roundtrip.testing.world import World

FAULTS = Faults(
    latency=0.0, before=0.01, after=0.02, partial=0.005, kill=0.002, event_lost=0.02,
    event_twice=0.05, event_false=0.05, poll=5.0,
)  # fmt: skip
"""Our own faults: lost replies, deaths, lost events. What lags or is torn is the share's part."""

CALM = 120.0
"""Seconds within which everything must converge once our own faults have stopped."""

_TERMS = Terms(settle=0.5, grace=10.0, longest=0.2, at_once=16)
_RESTART = 1.0  # seconds at most that a role that died stays dead
_UNDER_WAY = 8  # wishes that are open at once
_LOOK = 0.1  # seconds between two looks at how far it is
_CHECK = 2.0  # seconds between two looks at all originals


class Torture:
    """Two roles in one process, as two hosts that share a folder; and the rules tried meanwhile."""

    def __init__(self, ground: Ground, seed: int, seconds: float) -> None:
        dice = random.Random(seed)
        self.timings = Timings()
        self._storage = RealStorage(ground, self.timings)
        self._rules = Rules(ground.path("rules"), dice, self.timings)
        self._world = World(dice, FAULTS, self._storage, _TERMS, _RESTART)
        self._coming = endless_wishes(dice)
        self._wishes: list[Wish] = []
        self._open: list[Wish] = []
        self._broken: list[str] = []
        self._end = time.monotonic() + seconds
        self._checked = time.monotonic()

    async def run(self) -> dict[str, Any]:
        """Work, then let everything converge; the report."""
        try:
            await self._storage.open()
            for host in self._world.hosts.values():
                self._world.begin(host.run())
            self._world.begin(self._storage.tend())
            await asyncio.gather(self._rules.go_on(self._is_over), self._work())
            converged = await self._converge()
            return self._report(converged)
        finally:
            self._world.end()
            self._rules.close()
            await self._storage.close()

    def _is_over(self) -> bool:
        return time.monotonic() >= self._end

    async def _work(self) -> None:
        while not self._is_over():
            self._see(full=time.monotonic() - self._checked >= _CHECK)
            while len(self._open) < _UNDER_WAY:
                self._hand_in(next(self._coming))
            await asyncio.sleep(_LOOK)

    def _hand_in(self, wish: Wish) -> None:
        self._wishes.append(wish)
        self._open.append(wish)
        self._world.hand_in(wish)

    def _see(self, *, full: bool) -> None:
        """See which wishes are done; with `full`, whether anything is wrong."""
        files = self._storage.files()
        self._open = [wish for wish in self._open if not is_done(wish, files)]
        if full:
            self._checked = time.monotonic()
            self._broken += [fault for fault in self._faults(files) if fault not in self._broken]

    def _faults(self, files: Files) -> list[str]:
        found = list(delivery_faults(self._wishes, files))
        if self._is_over():  # Meanwhile files move while they are being read.
            for wish in self._wishes:
                found += original_faults(wish, files)
        return found

    async def _converge(self) -> float | None:
        """How long it took, in seconds; None if it didn't."""
        for weather in self._world.weathers.values():
            weather.is_over = True
        began = time.monotonic()
        while time.monotonic() - began < CALM:
            self._see(full=False)
            if not self._open and not leftovers(self._storage.files(), LEFT_BY_NOBODY):
                self._see(full=True)
                return round(time.monotonic() - began, 1)
            await asyncio.sleep(_LOOK)
        self._see(full=True)
        left = leftovers(self._storage.files(), LEFT_BY_NOBODY)
        self._broken.append(f"no convergence within {CALM:g} s: {'; '.join(left[:8])}")
        return None

    def _report(self, converged: float | None) -> dict[str, Any]:
        done = [wish for wish in self._wishes if wish not in self._open]
        failed = sum(wish.is_hopeless for wish in done)
        rules = [f"{text} ({count} times)" for text, count in self._rules.broken.items()]
        defects = [text for host in self._world.hosts.values() for text in host.defects]
        return {
            "sent": len(self._wishes),
            "delivered": len(done) - failed,
            "failed": failed,
            "waiting": len(self._open),
            "operations": self._world.trace_log.operations,
            "deaths": sum(host.deaths for host in self._world.hosts.values()),
            "enriched_again": dict(self._world.ledger.needless),
            "rules_tried": self._rules.tried,
            "converged_after": converged,
            "reopened": self._storage.reopened,
            "errors": dict(self.timings.errors),
            "latency": self.timings.figures(),
            "broken": rules + self._broken + defects,
        }


async def _run(task: dict[str, Any]) -> dict[str, Any]:
    share = Path(task["share"])
    _end_with_the_parent()
    check(share)
    ground = Ground(share, task["name"], Path(task["private"]))
    try:
        await ground.make()
        swept = sweep(share, ground.shared.stat().st_mtime)
        report = await Torture(ground, task["seed"], task["seconds"]).run()
        return {**report, "swept": swept}
    finally:
        ground.remove()


def _end_with_the_parent() -> None:
    """Tidy up and end when told to, or when whoever holds the other end of stdin is gone."""
    main = asyncio.current_task()
    assert main is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, main.cancel)
    loop.add_reader(sys.stdin.fileno(), main.cancel)


def main() -> None:
    """Do the task on the command line."""
    logging.disable(logging.CRITICAL)
    task = json.loads(sys.argv[1])
    if "remove" in task:
        shutil.rmtree(task["remove"], ignore_errors=True)
        return
    report: dict[str, Any] = {}
    with suppress(asyncio.CancelledError):  # Whoever ended us wants no report.
        try:
            report = asyncio.run(_run(task))
        except (RoundtripError, OSError) as error:
            report = {"error": str(error)}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
