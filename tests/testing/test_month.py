"""A job that takes a month of virtual time, while everything is down at times."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import BinaryIO

import pytest

from roundtrip.enrich import Withdrawn
from roundtrip.enrich.results import Progress
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.protocol.names import Namer
from roundtrip.roles import ticket as tickets
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.ticket import Restarts, Ticket
from roundtrip.testing import staff
from roundtrip.testing.enrichment import Enrichment, answer_to
from roundtrip.testing.faults import Faults
from roundtrip.testing.loop import virtually
from roundtrip.testing.storage import MemoryStorage
from roundtrip.testing.wishes import Wish, delivery_faults, is_done
from roundtrip.testing.world import World

HOUR = 3600.0
DAY = 24 * HOUR
MONTH = 30 * DAY

# Each side is killed now and then and is down for up to six hours, mounts are cut for hours,
# disks are full for hours.
TROUBLE = Faults(
    kill=0.003, cut_every=2 * DAY, cut_for=5 * HOUR, full_every=6 * DAY, full_for=3 * HOUR
)


class BatchSystem:
    """Where jobs run, behind an API that is away for a day every four days; outlives all agents."""

    def __init__(self, takes: float, failures: int = 0) -> None:
        self.takes = takes
        self.failures = failures  # so many runs of each job end badly
        self.submitted: Counter[str] = Counter()
        self.asked_in_vain = 0
        self._ends: dict[tuple[str, int], float] = {}

    def is_away(self, now: float) -> bool:
        return now % (4 * DAY) < DAY

    def ask(self, exchange: str, attempt: int, now: float) -> bool | None:
        """Whether a job is done, and well; None: ask again later. It is submitted if it is new."""
        if self.is_away(now):
            self.asked_in_vain += 1
            return None
        key = (exchange, attempt)
        if key not in self._ends:
            self._ends[key] = now + self.takes
            self.submitted[exchange] += 1
        return attempt > self.failures if now >= self._ends[key] else None


class Patient(Enrichment):
    """Asks every hour, as a step with `job` does."""

    system: BatchSystem

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        content = source.read()
        self._ledger.open.add(request.exchange)
        loop = asyncio.get_running_loop()
        while (done := self.system.ask(request.exchange, request.attempt, loop.time())) is None:
            await asyncio.sleep(HOUR)
            if self._is_dead():
                raise asyncio.CancelledError
            if cancelled():
                raise Withdrawn
        if not done:
            raise PipelineError("the job failed")
        sink.write(answer_to(content, request.pipeline))
        return Answer(Outcome.ENRICHED, {}, request.pipeline or "default")


@pytest.fixture
def employ(monkeypatch: pytest.MonkeyPatch) -> Callable[[BatchSystem], None]:
    monkeypatch.setattr(staff, "Enrichment", Patient)
    return lambda system: monkeypatch.setattr(Patient, "system", system, raising=False)


async def month(seed: int, again: Restarts | None) -> tuple[World, list[Wish], float]:
    """Three jobs in a troubled world; the time at which the last of them was delivered."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    storage = MemoryStorage(loop.time, keeps_history=False)
    world = World(dice, TROUBLE, storage, staff.Terms(at_once=3), restart=6 * HOUR)
    namer = Namer(clock=lambda: 1.7e9, randbits=dice.getrandbits)
    wishes = [
        Wish(namer(f"{name}.model"), f"{name}.model", name.encode() * 40, 0.0)
        for name in ("one", "two", "three")
    ]
    for wish in wishes:
        ticket = Ticket(wish.name, again=again)
        file = tickets.file_of(wish.exchange)
        world.storage.write("a/tickets", file, ticket.encode())
        world.storage.write("a/pending", wish.exchange, wish.content)
    for host in world.hosts.values():
        world.begin(host.run())
    while not all(is_done(wish, world.storage.files()) for wish in wishes):
        await asyncio.sleep(HOUR)
        assert not list(delivery_faults(wishes, world.storage.files()))
        assert loop.time() < 4 * MONTH
    assert not world.hosts["a"].defects + world.hosts["b"].defects
    return world, wishes, loop.time()


def test_a_job_of_a_month_is_run_once_and_delivered_once(
    employ: Callable[[BatchSystem], None],
) -> None:
    system = BatchSystem(takes=MONTH)
    employ(system)
    world, wishes, took = virtually(lambda: month(4, None))
    assert MONTH < took < MONTH + 8 * DAY
    assert set(system.submitted.values()) == {1}
    assert len(system.submitted) == len(wishes)
    # It was the month that was asked for: dozens of deaths on both sides, and an API away.
    assert min(host.deaths for host in world.hosts.values()) > 20
    assert system.asked_in_vain > 50


def test_a_job_that_fails_is_started_again_over_weeks(
    employ: Callable[[BatchSystem], None],
) -> None:
    system = BatchSystem(takes=3 * DAY, failures=2)
    employ(system)
    world, wishes, took = virtually(lambda: month(5, Restarts(left=4, pause=2 * DAY)))
    # Three runs of three days, and pauses of two and four days between them.
    assert took > 3 * 3 * DAY + 6 * DAY
    assert {system.submitted[wish.exchange] for wish in wishes} == {3}
    assert world.hosts["a"].deaths > 5
