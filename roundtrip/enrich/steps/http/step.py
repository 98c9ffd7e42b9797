"""`Http`: the step as pipelines see it; which kind of call it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, cast

import httpx

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.graph import BATCH
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import HttpSettings, StepSettings
from roundtrip.enrich.steps import Answered, Call
from roundtrip.enrich.steps.http.batch import BatchCall, HttpBatches
from roundtrip.enrich.steps.http.calls import HttpCall, Shown
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.jobs import JobCall, Jobs
from roundtrip.enrich.steps.http.pages import PagedCall, Pager
from roundtrip.enrich.steps.http.payload import PayloadCall
from roundtrip.template import Fields


class Http(Compiled):
    """A compiled `http` step; implements `Step`."""

    def __init__(
        self,
        pipeline: str,
        settings: StepSettings,
        http: HttpSettings,
        transport: httpx.AsyncBaseTransport,
        governor: Governor,
    ) -> None:
        """ValueError (one line) when the settings can't be used."""
        super().__init__(pipeline, settings, http, transport, governor)
        kinds = {"batch": settings.batch, "pages": http.pages, "job": http.job}
        given = [name for name, found in kinds.items() if found is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} exclude each other")
        self._batches = HttpBatches(settings.batch, self) if settings.batch else None
        self._pager = Pager(http.pages, self) if http.pages else None
        self._jobs = Jobs(http.job, self) if http.job else None
        self._check_sent()

    local = False

    def call(self, fields: Fields) -> HttpCall | BatchCall:
        """See `Step.call`."""
        if self._batches is not None:
            return self._batches.call(fields)
        target = self.fixed_target or self.url.target(fields)
        headers, content = self.rendered(fields), self.body.make(fields)
        if self._pager is not None:
            return PagedCall(self, target, headers, content, self._pager)
        if self._jobs is not None:
            return JobCall(self, target, headers, content, self._jobs)
        return HttpCall(self, target, headers, content)

    async def together(self, calls: Sequence[Call], run: Run) -> list[Answered | RecordFault]:
        """See `Step.together`."""
        assert self._batches is not None  # or it would not be called
        return await self._batches.together(cast("Sequence[BatchCall]", calls), run)

    def shown_together(self, calls: Sequence[Call]) -> Shown:
        """The request that calls of a step with `batch` would make as one batch."""
        assert self._batches is not None  # or it would not be called
        return self._batches.shown(cast("Sequence[BatchCall]", calls))

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        """See `Step.whole`."""
        call = PayloadCall(self, name, source, sink, run)
        return await (call.run() if self._jobs is None else call.run_job(self._jobs))

    def shown_whole(self, name: str, source: BinaryIO, run: Run) -> Shown:
        """The request that `whole` would send first; its body only if it is small."""
        return PayloadCall(self, name, source, source, run).shown()

    def _check_sent(self) -> None:
        fields = self.fields + (self._batches.fields if self._batches else ())
        for field in fields:
            if field.name != BATCH and not self.sent.allows(field):
                raise ValueError(f"the field {field.name!r} may not leave: it is not in send")
