"""One seed: both roles, their hosts and applications under faults, then peace, then the account.

    wishes --> A --mount, faults--> Unenriched on B's disk --events, faults--> B
      inbox <-- A <--events, faults-- Enriched on A's disk <--mount, faults-- B

After `STORM` seconds of virtual time the faults stop, and everything must converge within `CALM`;
then nothing may happen any more but listings.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from roundtrip.protocol.names import MARKER_SUFFIX, is_internal
from roundtrip.testing.enrichment import UNEXPLAINED, answer_to
from roundtrip.testing.faults import Faults, is_orderly
from roundtrip.testing.loop import Stuck, virtually
from roundtrip.testing.shell import Shell
from roundtrip.testing.storage import MemoryStorage
from roundtrip.testing.wishes import (
    LEFT_BY_NOBODY,
    TIDIED_AT_START,
    Wish,
    delivery_faults,
    is_done,
    leftovers,
    make_wishes,
    original_faults,
)
from roundtrip.testing.world import World

STORM = 150.0
CALM = 900.0
_QUIET = 50.0  # seconds beyond one full listing, in which nothing but that may be done
_LOOK = 10.0  # seconds between two looks at how far it is


class Violation(AssertionError):
    """Something happened that the protocol promises not to happen."""


@dataclass(frozen=True, slots=True)
class Account:
    """What one run came to.

    `runs` are enrichments, `needless` those of a payload that had been enriched before, by what
    made B do it again; `calm` is how long it took to converge once the faults had stopped.
    """

    exchanges: int
    operations: int
    looks: int
    deaths: int
    runs: int
    needless: Counter[str]
    calm: float


class Simulation:
    """The plot of one seed, and what is checked all the while."""

    def __init__(self, seed: int, faults: Faults) -> None:
        dice = random.Random(seed)
        clock = asyncio.get_running_loop().time
        storage = MemoryStorage(clock, keeps_history=faults.power > 0)
        self.world = World(dice, faults, storage, delivers=dice.random() < 0.5)
        self.wishes = make_wishes(dice, STORM * 0.7)
        self._open: list[Wish] = []  # handed in, and not taken back
        self._findings: list[str] = []
        self._is_orderly = is_orderly(faults)
        self._quiet = faults.poll + _QUIET
        # Nobody mends a shell script's names: what lands late, or is lost with the power, stays.
        has_shell = not (faults.late or faults.power) and dice.random() < 0.3
        self._shell = Shell("by-hand.csv", b"by hand\n") if has_shell else None
        self.world.on_change = self._check_change

    async def run(self) -> Account:
        """Storm, calm, quiet; the account of it.

        Raises:
            Violation: something was lost, doubled, mixed up, left behind, or never ended.
        """
        self._begin()
        await self._storm()
        for weather in self.world.weathers.values():
            weather.is_over = True
        if self.world.receiver is not None:
            self.world.receiver.refuses = False
        calm = await self._until(self._undone)
        await self._rest()
        await self._start_afresh()
        await self._rest()
        return self._account(calm)

    def _begin(self) -> None:
        world = self.world
        for host in world.hosts.values():
            world.begin(host.run())
        for wish in self.wishes:
            world.loop.call_later(wish.at, self._hand_in, wish)
            if wish.withdrawn_at is not None:
                world.loop.call_later(wish.withdrawn_at, self._take_back, wish)
        if self._shell is not None:
            asks, answers = (
                world.folder("a", label, self._shell) for label in ("unenriched", "enriched")
            )
            world.begin(self._shell.run(asks, answers, world.dice))

    def _hand_in(self, wish: Wish) -> None:
        self._open.append(wish)
        self.world.hand_in(wish)

    def _take_back(self, wish: Wish) -> None:
        if self.world.take_back(wish):
            self._open.remove(wish)

    # What must hold at every instant.

    def _check_change(self, label: str, name: str) -> None:
        if label.startswith("a/"):
            self._check_files()
        elif self._is_orderly and label in ("unenriched", "enriched") and not is_internal(name):
            self._check_order(label)

    def _check_files(self) -> None:
        files = self.world.storage.files()
        for wish in self._open:
            self._findings.extend(original_faults(wish, files))
        self._findings.extend(delivery_faults(self.wishes, files))

    def _check_order(self, label: str) -> None:
        files = self.world.storage.files()[label]
        for name in files:
            if name.endswith(MARKER_SUFFIX) and name.removesuffix(MARKER_SUFFIX) not in files:
                self._findings.append(f"{label}/{name} is there without its payload")

    def _raise_findings(self) -> None:
        for host in self.world.hosts.values():
            self._findings += host.defects
        if self.world.receiver is not None:
            self._findings += self.world.receiver.findings
        if self._findings:
            raise Violation(self._findings[0])

    # The phases.

    async def _storm(self) -> None:
        for _ in range(round(STORM / _LOOK)):
            await asyncio.sleep(_LOOK)
            self._raise_findings()

    async def _until(self, undone: Callable[[], list[str]]) -> float:
        began = self.world.loop.time()
        while found := undone():
            await asyncio.sleep(_LOOK)
            self._raise_findings()
            if self.world.loop.time() - began > CALM:
                raise Violation(f"no convergence after {CALM:g} s: {'; '.join(found)}")
        self._check_files()
        self._raise_findings()
        return self.world.loop.time() - began

    def _undone(self) -> list[str]:
        """What has still to happen; what a fresh start tidies up may be left."""
        files = self.world.storage.files()
        undone = [f"{wish.exchange} is not done" for wish in self._open if not is_done(wish, files)]
        undone += leftovers(files, LEFT_BY_NOBODY)
        undone += [f"{wish.exchange} is untold" for wish in self._open if self._is_untold(wish)]
        undone += [f"the ledger still has {name}" for name in sorted(self.world.ledger.open)]
        if self._shell is not None and self._shell.answer is None:
            undone.append("the shell script still waits")
        return undone

    def _is_untold(self, wish: Wish) -> bool:
        receiver = self.world.receiver
        return receiver is not None and not receiver.got[wish.exchange]

    async def _start_afresh(self) -> None:
        """What a life leaves behind must not come to life in the next one."""
        for host in self.world.hosts.values():
            host.end()
        await self._until(lambda: self._undone() + self._left_behind())

    def _left_behind(self) -> list[str]:
        return leftovers(self.world.storage.files(), TIDIED_AT_START)

    def _looks(self) -> int:
        return sum(host.looks for host in self.world.hosts.values())

    async def _rest(self) -> None:
        before = self._looks()
        await asyncio.sleep(self._quiet)
        if (looks := self._looks() - before) > 3 * len(self.wishes) + 3:
            raise Violation(f"{looks} looks in {self._quiet:g} s though there was nothing to do")
        if undone := self._undone():
            raise Violation(f"undone again after the end: {'; '.join(undone)}")

    def _account(self, calm: float) -> Account:
        if self._shell is not None and self._shell.answer != answer_to(self._shell.content, None):
            raise Violation(f"the shell script got {self._shell.answer!r}")
        ledger = self.world.ledger
        for reason in ledger.needless:
            if reason.startswith(UNEXPLAINED):
                raise Violation(f"enriched again, {reason}")
        return Account(
            exchanges=len(self.wishes) + (self._shell is not None),
            operations=self.world.trace_log.operations,
            looks=self._looks(),
            deaths=sum(host.deaths for host in self.world.hosts.values()),
            runs=ledger.runs,
            needless=ledger.needless,
            calm=calm,
        )

    def told(self, text: str) -> str:
        """A violation for people: what, all names, and the last operations that concern it."""
        lines = [text, "names:"]
        for place, names in sorted(self.world.storage.files().items()):
            if names:
                shown = ", ".join(f"{name} ({len(content)})" for name, content in names.items())
                lines.append(f"  {place}: {shown}")
        named = [wish.exchange for wish in self.wishes if wish.exchange in text]
        shown_lines = self.world.trace_log.about(named)
        lines.append(f"the last {len(shown_lines)} operations that concern it:")
        return "\n".join([*lines, *(f"  {line}" for line in shown_lines)])


def simulate(seed: int, faults: Faults, profile: str | None = None) -> Account:
    """Run one seed; `profile` is the name of `faults`, if they have one.

    Raises:
        Violation: with the names, the trace, and the command that repeats it.
    """
    simulation: Simulation | None = None

    async def main() -> Account:
        nonlocal simulation
        simulation = Simulation(seed, faults)
        return await simulation.run()

    try:
        return virtually(main)
    except (Violation, Stuck) as error:
        assert simulation is not None
        told = simulation.told(f"seed {seed}, profile {profile or faults}: {error}")
        if profile is not None:
            told += f"\nagain: python -m roundtrip.testing --profile {profile} --from {seed}"
        raise Violation(told) from None
