"""`Enricher`: chooses a payload's pipeline and runs it. One per process; made without any I/O."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO

from roundtrip.enrich.answers import MemoryAnswers
from roundtrip.enrich.calls import Calls, Flights
from roundtrip.enrich.check import matches
from roundtrip.enrich.faults import Withdrawn
from roundtrip.enrich.formats.opening import detect, opened
from roundtrip.enrich.records import RecordRun, columns
from roundtrip.enrich.results import Result, Stats
from roundtrip.enrich.retry import Sleep
from roundtrip.enrich.settings import Pipeline
from roundtrip.enrich.steps.http import Http
from roundtrip.enrich.transport import AiohttpTransport
from roundtrip.enrich.whole import SMALL, pass_through
from roundtrip.errors import PipelineError

OWN_BYTES = 32 * 1024 * 1024  # what one payload remembers of its own answers
SHARED_BYTES = 64 * 1024 * 1024  # what all payloads together keep of steps with `cache`
LOOK = 1.0  # seconds between two looks whether the request is still wanted


class Enricher:
    """Runs payloads through pipelines; many at once on one event loop."""

    def __init__(self, pipelines: Sequence[Pipeline], *, sleep: Sleep = asyncio.sleep) -> None:
        """`sleep` makes the pauses between attempts; tests put in one that doesn't wait."""
        self._pipelines = tuple(pipelines)
        self._sleep = sleep
        self._transport = AiohttpTransport()
        self._compiled: dict[int, tuple[Pipeline, list[Http]]] = {}
        self._shared = MemoryAnswers(SHARED_BYTES)
        self._flights: Flights = {}

    def choose(self, original_name: str, wanted: str | None) -> Pipeline:
        """The pipeline named `wanted`, else the first that fits the name; else PipelineError."""
        for pipeline in self._pipelines:
            if pipeline.name == wanted or (wanted is None and matches(pipeline, original_name)):
                return pipeline
        known = ", ".join(pipeline.name for pipeline in self._pipelines) or "none"
        if wanted is None:
            raise PipelineError(f"no pipeline fits the name {original_name!r}; there are: {known}")
        raise PipelineError(f"there is no pipeline {wanted!r}; there are: {known}")

    async def run(
        self,
        pipeline: Pipeline,
        original_name: str,
        source: BinaryIO,
        sink: BinaryIO,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Enrich `source` (seekable) into `sink` (only appended to), in constant memory.

        Raises PipelineError when the payload as a whole fails, Withdrawn when `cancelled` says so.
        """
        began = time.perf_counter()
        steps = self._steps(pipeline)
        stats = Stats()
        with _Wanted(cancelled):
            kind = detect(original_name, source) if pipeline.format == "auto" else pipeline.format
            if kind == "raw":
                media_type = await pass_through(steps, original_name, source, sink, stats)
            else:
                media_type = await self._records(kind, steps, source, sink, stats)
        stats.seconds = time.perf_counter() - began
        return Result("partial" if stats.failed else "enriched", stats, media_type)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _records(
        self, kind: str, steps: list[Http], source: BinaryIO, sink: BinaryIO, stats: Stats
    ) -> str:
        added = columns(steps)
        if source.seek(0, 2) > SMALL:  # opening may read all of it
            payload = await asyncio.to_thread(opened, kind, source, added)
        else:
            payload = opened(kind, source, added)
        calls = Calls(MemoryAnswers(OWN_BYTES), self._shared, self._flights, stats)
        # twice the calls that may run: a slow record at the front must not stop the others
        waiting = 2 * max((step.settings.concurrency for step in steps), default=1)
        records = payload.records()
        try:
            await RecordRun(steps, calls, stats, waiting).run(records, payload.writer(sink))
        finally:
            records.close()
        return payload.media_type

    def _steps(self, pipeline: Pipeline) -> list[Http]:
        """The pipeline's steps, compiled once, so that its payloads share limits."""
        known = self._compiled.get(id(pipeline))
        if known is None:
            try:
                steps = [Http(step, self._transport, self._sleep) for step in pipeline.steps]
            except ValueError as error:
                raise PipelineError(f"pipeline {pipeline.name} can't be used: {error}") from None
            known = self._compiled[id(pipeline)] = (pipeline, steps)
        return known[1]


class _Wanted:
    """Ends the current task's work with Withdrawn once nobody wants it, wherever it waits."""

    def __init__(self, cancelled: Callable[[], bool] | None) -> None:
        self._cancelled = cancelled
        self._withdrawn = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._cancelled is not None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.current_task()
            self._timer = self._loop.call_later(LOOK, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._withdrawn and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise Withdrawn from None

    def _look(self) -> None:
        if self._cancelled is not None and self._cancelled() and self._task is not None:
            self._withdrawn = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(LOOK, self._look)
