"""Answering: a request becomes a kept answer; one that can't be enriched gets one that says why."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from typing import BinaryIO, cast

from roundtrip.enrich import PayloadFault, Withdrawn
from roundtrip.enrich.results import Progress
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import Outcome, RequestMarker, ResponseMarker, timestamp
from roundtrip.protocol.names import CANARY
from roundtrip.protocol.problem import Problem
from roundtrip.roles.canary import ECHO_MAX, is_echoed
from roundtrip.roles.enrichment import Answer, Enrich, sums
from roundtrip.roles.kept import Kept, Spool
from roundtrip.roles.request import Request, Settling
from roundtrip.roles.space import is_full
from roundtrip.roles.tally import Tally
from roundtrip.shares.port import Folder

log = logging.getLogger("roundtrip.roles")


class Answers:
    """Makes answers in the folder `kept`; `responder` is what their markers say of this host."""

    def __init__(
        self,
        enrich: Enrich,
        unenriched: Folder,
        kept: Folder,
        tally: Tally,
        responder: tuple[tuple[str, str], ...],
        settle: float,
    ) -> None:
        self._enrich = enrich
        self._unenriched = unenriched
        self._kept = kept
        self._tally = tally
        self._responder = dict(responder)
        self._settle = settle

    async def make(
        self,
        exchange: str,
        request: Request,
        *,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Kept:
        """The answer to a request. `cancelled` is asked now and then, `report` told of progress.

        Raises:
            Withdrawn: it was cancelled.
            Settling: the request changed meanwhile.
            OSError: nothing is wrong with the request; try again.
        """
        began = time.monotonic()
        outcome, problem = request.refusal or (Outcome.FAILED, None)
        if problem is None:
            try:
                return await self._enriched(exchange, request, began, cancelled, report)
            except (Settling, Withdrawn):
                raise
            except PipelineError as error:
                problem = _problem(error, exchange)
            except OSError as error:
                if is_full(error):
                    # Half an answer takes room that others could use; the ledger makes it anew.
                    await self._kept.remove(exchange)
                raise
            except Exception as error:
                # A defect of ours or of a step's. Without an answer, A would wait for ever and
                # every new try would pay again.
                log.exception("defect", extra={"exchange": exchange})
                # Not its text: that may hold a piece of a record or of the configuration.
                detail = f"{type(error).__name__}; host B's log says where"
                problem = Problem("internal", "Enrichment broke down", detail, exchange)
        return self._refused(exchange, request, began, outcome, problem)

    def _refused(
        self, exchange: str, request: Request, began: float, outcome: Outcome, problem: Problem
    ) -> Kept:
        log.warning(
            "refused",
            extra={"exchange": exchange, "outcome": outcome, "reason": problem.detail},
        )
        answer = Answer(outcome, {}, request.marker.pipeline or "")
        with Spool(self._kept, exchange) as spool:
            spool.write(problem.encode())
            return self._finished(exchange, request, answer, spool, began)

    async def _enriched(
        self,
        exchange: str,
        request: Request,
        began: float,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Kept:
        count = self._tally.meter()

        def counted(found: Progress) -> None:
            count(sums(found.stats))
            report(found)

        content = request.payload.source
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        enrich = _echo if is_echoed(exchange, request.marker.pipeline) else self._enrich
        with Spool(self._kept, exchange) as spool:
            sink = cast("BinaryIO", spool)
            answer = await enrich(request.marker, source, sink, cancelled, counted)
            count(answer.stats)
            if source is content and await self._unenriched.stat(exchange) != request.payload.entry:
                raise Settling(self._settle)  # It changed between its two readings.
            return self._finished(exchange, request, answer, spool, began)

    def _finished(
        self, exchange: str, request: Request, answer: Answer, spool: Spool, began: float
    ) -> Kept:
        marker = ResponseMarker(
            exchange=exchange,
            outcome=answer.outcome,
            digest=spool.finish(),
            request=request.asked,
            attempt=request.marker.attempt,
            stats=answer.stats | {"seconds": round(time.monotonic() - began, 3)},
            responder={**self._responder, "pipeline": answer.pipeline},
            created=timestamp(time.time()),
        )
        return Kept(marker, given=1, content=spool.content)


async def _echo(
    request: RequestMarker,
    source: BinaryIO,
    sink: BinaryIO,
    cancelled: Callable[[], bool],
    report: Callable[[Progress], None],
) -> Answer:
    """What stands for enrichment where the requester only wants to know whether the way is open."""
    content = source.read(ECHO_MAX + 1)
    if len(content) > ECHO_MAX:
        raise PipelineError(f"{CANARY}: takes {ECHO_MAX} bytes at most")
    sink.write(content)
    return Answer(Outcome.ENRICHED, {}, CANARY)


def _problem(error: PipelineError, exchange: str) -> Problem:
    if isinstance(error, PayloadFault):
        return Problem("payload", error.title, error.detail, exchange, error.status, error.members)
    return Problem("pipeline", "The request can't be enriched", str(error), exchange)
