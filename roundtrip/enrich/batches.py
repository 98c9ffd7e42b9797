"""Calls of one payload gathered, so that many records go to the API in one call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps import Answered, Call, Step

Outcome = Answered | RecordFault


@dataclass(eq=False)
class _Batch:
    """Calls and who waits for them; `task` makes them, once the batch is full or its time over."""

    calls: list[Call] = field(default_factory=list)
    outcomes: list[asyncio.Future[Outcome]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None

    def leave_out(self) -> None:
        """Drop the calls that nobody waits for any more."""
        both = zip(self.calls, self.outcomes, strict=True)
        wanted = [(call, outcome) for call, outcome in both if not outcome.done()]
        self.calls = [call for call, _ in wanted]
        self.outcomes = [outcome for _, outcome in wanted]

    def settle(self, outcomes: list[Outcome]) -> None:
        """Give each call its outcome."""
        for waiting, found in zip(self.outcomes, outcomes, strict=True):
            if not waiting.done():
                waiting.set_result(found)

    def fail(self, error: Exception) -> None:
        """Raise the error wherever somebody still waits."""
        for waiting in self.outcomes:
            if not waiting.done():
                waiting.set_exception(error)


class Batches:
    """The batches of one payload: one is being gathered for each step, any number are under way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._gathering: dict[str, _Batch] = {}
        self._sent: set[asyncio.Task[None]] = set()

    async def answer(self, step: Step, call: Call) -> Answered:
        """The outcome of `call`, made together with others of this step. Raises RecordFault.

        A batch that nobody waits for any more is ended.
        """
        settings = step.settings.batch
        assert settings is not None  # or it would not be called here
        loop = asyncio.get_running_loop()
        batch = self._gathering.get(step.name)
        if batch is None:
            batch = self._gathering[step.name] = _Batch()
            batch.timer = loop.call_later(settings.linger, self._send, step)
        batch.calls.append(call)
        outcome: asyncio.Future[Outcome] = loop.create_future()
        batch.outcomes.append(outcome)
        if len(batch.calls) >= settings.size:
            self._send(step)
        try:
            answered = await outcome
        except asyncio.CancelledError:
            if batch.task is not None and all(outcome.done() for outcome in batch.outcomes):
                await self._run.end(batch.task)
            raise
        if isinstance(answered, RecordFault):
            raise answered
        return answered

    def _send(self, step: Step) -> None:
        batch = self._gathering.pop(step.name)
        if batch.timer:
            batch.timer.cancel()
        batch.leave_out()
        if not batch.calls:
            return
        batch.task = asyncio.get_running_loop().create_task(self._together(step, batch))
        self._sent.add(batch.task)
        batch.task.add_done_callback(self._sent.discard)

    async def _together(self, step: Step, batch: _Batch) -> None:
        try:
            batch.settle(await step.together(batch.calls, self._run))
        except RecordFault as fault:
            batch.settle([fault] * len(batch.calls))
        except Exception as error:  # whatever it is: who waits must hear of it
            batch.fail(error)
