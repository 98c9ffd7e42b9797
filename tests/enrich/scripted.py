"""A step whose calls end when and how a test says, without any network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import HttpSettings, StepSettings
from roundtrip.enrich.steps import Answered
from roundtrip.template import Fields

Act = Callable[[str], Any]


class ScriptedCall:
    """`make` does what the step's `act` returns or raises for the key."""

    def __init__(self, step: ScriptedStep, name: str) -> None:
        self.step = step
        self.name = name
        self.key = name.encode()

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        step = self.step
        step.made.append(self.name)
        task = asyncio.current_task()
        if step.sent_at_once:
            run.sent.add(task)
        try:
            if step.held is not None:
                await step.held.wait()
            found = step.act(self.name)
        finally:
            run.sent.discard(task)
            step.ended.append(self.name)
        return found if isinstance(found, Answered) else Answered(found)


class ScriptedStep:
    """Implements `Step`. `made` are the calls that began, `together_made` the batches."""

    local = False
    selected = ()

    def __init__(self, act: Act = lambda name: name.upper(), **settings: Any) -> None:
        self.settings = StepSettings("geo", HttpSettings("http://127.0.0.1/"), **settings)
        self.name = "geo"
        self.into = "geo"
        self.act = act
        self.made: list[str] = []
        self.ended: list[str] = []
        self.together_made: list[list[str]] = []
        self.held: asyncio.Event | None = None
        self.sent_at_once = False

    def call(self, fields: Fields | str) -> ScriptedCall:
        return ScriptedCall(self, fields if isinstance(fields, str) else str(fields["key"]))

    async def together(self, calls: Sequence[Any], run: Run) -> list[Answered | RecordFault]:
        names = [call.name for call in calls]
        self.together_made.append(names)
        try:
            if self.held is not None:
                await self.held.wait()
            found = self.act(",".join(names))
            return found if isinstance(found, list) else [Answered(name) for name in names]
        finally:
            self.ended += names

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        raise NotImplementedError


async def settled(turns: int = 10) -> None:
    """Let everything go as far as it can without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
