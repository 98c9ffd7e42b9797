"""No slot is ever lost or given twice, whatever is cancelled, fails or is postponed, and when."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from roundtrip.enrich.faults import PassingFault, Postponed, RecordFault, Transient
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Breaker, HostSettings, Quota, Rate, Retry
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.limits.virtual import HOST, START, VirtualLoop, settled, step

FAULT = PassingFault("503 Service Unavailable", "step x", 503)
ENDS: list[Exception | None] = [
    None,
    RecordFault("404 Not Found", "step x", 404),
    Transient(FAULT),
    Transient(PassingFault("No connection", "step x")),
    Postponed(FAULT, 0),
    Postponed(FAULT, 3),
    Postponed(FAULT, 100_000),
    OSError(28, "full"),
]


@dataclass(eq=False)
class Made:
    """A call: its task, and what its attempt under way waits for."""

    number: int
    task: asyncio.Task[Any] | None = None
    under_way: asyncio.Future[None] | None = None
    tries: list[float] = field(default_factory=list)


class Slots(RuleBasedStateMachine):
    """Calls of three payloads through three gates of one host, and their ends in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.store = MemoryStore()
        host = HostSettings(
            HOST,
            concurrency=3,
            rate=Rate(200, 1),
            quota=Quota(minute=500),
            breaker=Breaker(failures=3, pause=2, max_pause=8),
            adaptive=False,
        )
        self.gates = Governor({HOST: host}, self.store.counters, now=self._now)
        patient = Retry(attempts=3, max_delay=1, patience=60)
        self.steps = [
            step("a", concurrency=2, retry=patient),
            step("b", concurrency=2, retry=patient, rate=Rate(50, 1), quota=Quota(day=300)),
            step("c", concurrency=2, retry=patient, fallback="a"),
        ]
        self.gate = [self.gates.gate("p", one, HOST) for one in self.steps]
        self.runs = [Run(str(number), self.store) for number in range(3)]
        self.calls: list[Made] = []
        self.active = Counter[int]()

    def _now(self) -> float:
        return START + self.loop.time()

    def _settle(self, seconds: float = 0.0) -> None:
        async def wait() -> None:
            await settled()
            if seconds:
                await asyncio.sleep(seconds)
                await settled()

        self.runner.run(wait())

    def _attempt(self, made: Made) -> Any:
        async def attempt() -> str:
            made.under_way = self.loop.create_future()
            made.tries.append(self.loop.time())
            self.active[made.number] += 1
            try:
                await made.under_way
            finally:
                self.active[made.number] -= 1
                made.under_way = None
            return "answer"

        return attempt

    @rule(gate=st.integers(0, 2), run=st.integers(0, 2), number=st.integers(1, 6))
    def call(self, gate: int, run: int, number: int) -> None:
        for _ in range(number):
            made = Made(gate)
            ready = self.gate[gate].call(self._attempt(made), self.runs[run])
            made.task = self.loop.create_task(ready)
            self.calls.append(made)
        self._settle()

    @precondition(lambda self: self.active.total())
    @rule(data=st.data(), end=st.sampled_from(ENDS))
    def end(self, data: st.DataObject, end: Exception | None) -> None:
        self._end(data.draw(st.sampled_from(self._under_way())), end)
        self._settle()

    @precondition(lambda self: self.active.total())
    @rule(data=st.data())
    def end_and_cancel_whoever_is_next(self, data: st.DataObject) -> None:
        """The turn is given, and its owner is cancelled before it notices."""
        ending = data.draw(st.sampled_from(self._under_way()))
        cancelled = data.draw(st.lists(st.sampled_from(self.calls), unique=True))

        async def both() -> None:
            self._end(ending, None)
            await asyncio.sleep(0)
            for made in cancelled:
                if made.task:
                    made.task.cancel()

        self.runner.run(both())
        self._settle()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        for made in data.draw(st.lists(st.sampled_from(self.calls), min_size=1, unique=True)):
            if made.task:
                made.task.cancel()
        self._settle()

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 5.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self._settle(seconds)

    @invariant()
    def nothing_runs_beyond_the_limits(self) -> None:
        (row,) = self.gates.figures()
        assert row.in_flight == self.active.total() <= 3
        assert all(number <= 2 for number in self.active.values())
        assert row.waiting >= 0

    @invariant()
    def whoever_could_go_goes(self) -> None:
        """Nobody waits beside a free slot, if rate, pause and breaker don't say so."""
        self._settle(0.05)
        (row,) = self.gates.figures()
        free = row.paused_until is None and row.breaker == "closed" and row.in_flight < 3
        if free and row.waiting and not any(run.waits for run in self.runs):
            waiting = {m.number for m in self.calls if m.task and not m.task.done()}
            assert any(self.active[number] == 2 for number in waiting)

    def _under_way(self) -> list[Made]:
        return [made for made in self.calls if made.under_way is not None]

    def _end(self, made: Made, end: Exception | None) -> None:
        assert made.under_way is not None
        if end is None:
            made.under_way.set_result(None)
        else:
            made.under_way.set_exception(end)

    def teardown(self) -> None:
        for _ in range(400):
            for made in self._under_way():
                self._end(made, None)
            self._settle(1.0)
            if all(made.task and made.task.done() for made in self.calls):
                break
        else:
            raise AssertionError("calls are left that never got their turn")
        for made in self.calls:
            assert made.task
            if not made.task.cancelled():
                made.task.exception()
        (row,) = self.gates.figures()
        assert (row.in_flight, row.waiting) == (0, 0)
        assert all(not run.waits for run in self.runs)
        self.runner.close()


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
