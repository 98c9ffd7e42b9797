"""`Enricher`: chooses a payload's pipeline and runs it. One per process; made without any I/O."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from roundtrip.enrich.attendance import Attendance
from roundtrip.enrich.calls import Calls, Flights
from roundtrip.enrich.check import matches
from roundtrip.enrich.compiled import Compiled
from roundtrip.enrich.egress import Guard
from roundtrip.enrich.formats.opening import detect, opened
from roundtrip.enrich.limits import Figures, Governor, Share
from roundtrip.enrich.records import RecordRun
from roundtrip.enrich.redirects import Redirects
from roundtrip.enrich.results import Progress, Result
from roundtrip.enrich.retry import Sleep
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import HostSettings, Pipeline
from roundtrip.enrich.steps.make import made
from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.enrich.store.port import Store
from roundtrip.enrich.transport import AiohttpTransport
from roundtrip.enrich.whole import SMALL, pass_through
from roundtrip.errors import PipelineError

if TYPE_CHECKING:
    import httpx


class Enricher:
    """Runs payloads through pipelines; many at once on one event loop."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        hosts: Mapping[str, HostSettings] | None = None,
        store: Store | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Without `store`, what is paid for is remembered in memory only.

        `transport` stands for the network, and `sleep` makes the pauses between attempts: tests
        put in one that doesn't wait.
        """
        self._pipelines = tuple(pipelines)
        self._store = store or MemoryStore()
        self._guard = Guard(self._pipelines, hosts)
        self._transport = transport or Redirects(AiohttpTransport(self._guard))
        self._hosts = hosts or {}
        self._sleep = sleep
        self._governor: Governor | None = None
        self._compiled: dict[int, Compiled] = {}
        self._flights: Flights = {}
        self._nameless = itertools.count()

    async def open(self) -> None:
        """Open the store; must be called before `run` if there is one of its own."""
        await self._store.open()

    @property
    def governor(self) -> Governor:
        """The limits, once the store is open."""
        if self._governor is None:
            self._governor = Governor(self._hosts, self._store.counters, sleep=self._sleep)
        return self._governor

    def share(self, share: Share) -> None:
        """Keep to a part of all limits: other workers have the rest. Once the store is open."""
        self.governor.share(share)

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
        exchange: str | None = None,
        cancelled: Callable[[], bool] | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> Result:
        """Enrich `source` (seekable) into `sink` (only appended to), in constant memory.

        What was paid for on behalf of `exchange` is durable when this returns, and not paid for
        again until `forget`; without a name it is forgotten at once. `report` is called once a
        second.

        Raises PipelineError when the payload as a whole fails, Withdrawn when `cancelled` says so.
        """
        began = time.perf_counter()
        compiled = self._ready(pipeline)
        run = Run(exchange or f"-{next(self._nameless)}", self._store)
        size = source.seek(0, 2)

        def tell() -> None:
            if report is not None:
                report(run.progress(source.tell() / size if size else 0.0))

        try:
            with Attendance(cancelled, tell if report else None):
                media_type = await self._enriched(compiled, original_name, source, sink, run)
                await self._store.durable()
        finally:
            tell()
            if exchange is None:
                self.forget(run.exchange)
        run.stats.seconds = time.perf_counter() - began
        return Result("partial" if run.stats.failed else "enriched", run.stats, media_type)

    def forget(self, exchange: str) -> None:
        """The exchange is over: nothing that was paid for it has to be remembered."""
        self._store.ledger.forget(exchange)

    def open_scopes(self) -> set[str]:
        """The exchanges for which anything that was paid for is remembered."""
        return self._store.ledger.scopes()

    def figures(self) -> list[Figures]:
        """What each host's limits are doing now; none before `open`."""
        return [] if self._governor is None else self._governor.figures()

    async def aclose(self) -> None:
        """Close the connections and the store."""
        await self._transport.aclose()
        await self._store.aclose()

    async def _enriched(
        self, compiled: Compiled, name: str, source: BinaryIO, sink: BinaryIO, run: Run
    ) -> str | None:
        source.seek(0)
        kind = compiled.settings.format
        if kind == "auto":
            kind = detect(name, source)
        if kind == "raw":
            return await pass_through(compiled.steps, name, source, sink, run)
        return await self._records(kind, compiled, source, sink, run)

    async def _records(
        self, kind: str, compiled: Compiled, source: BinaryIO, sink: BinaryIO, run: Run
    ) -> str:
        settings = compiled.settings
        added = compiled.columns()
        if source.seek(0, 2) > SMALL:  # opening may read all of it
            payload = await asyncio.to_thread(opened, kind, source, added, settings.formats)
        else:
            payload = opened(kind, source, added, settings.formats)
        calls = Calls(settings.name, run, self._flights)
        records = payload.records()
        try:
            await RecordRun(compiled, calls, run.stats).run(records, payload.writer(sink))
        finally:
            records.close()
        return payload.media_type

    def _ready(self, pipeline: Pipeline) -> Compiled:
        """The pipeline, compiled once, so that its payloads share limits."""
        known = self._compiled.get(id(pipeline))
        if known is None:
            try:
                known = Compiled(
                    pipeline,
                    lambda step: made(pipeline.name, step, self._transport, self.governor),
                )
            except ValueError as error:
                raise PipelineError(f"pipeline {pipeline.name} can't be used: {error}") from None
            self._guard.admit(pipeline)
            self._compiled[id(pipeline)] = known
        return known
