"""One job in a worker's hands: fetch, enrich, store; whatever happens, a result comes of it.

Payload and result are private copies on the worker's own disk meanwhile: a folder that hangs stops
neither the other jobs nor the calls that are under way.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from roundtrip.dispatch.folder import JobFolder, Torn
from roundtrip.dispatch.job import Job, Result, Trouble
from roundtrip.enrich import PayloadFault, Withdrawn
from roundtrip.enrich.engine import Enricher
from roundtrip.enrich.results import Progress
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import timestamp
from roundtrip.roles.enrichment import sums

log = logging.getLogger("roundtrip.dispatch")

_IN_MEMORY = 1024 * 1024  # bytes of a payload or a result that take no file


@dataclass(slots=True, eq=False)
class Hand:
    """A job that a worker has taken: its `number`th try. `dropped`: nobody wants it any more."""

    job: Job
    number: int
    dropped: bool = False
    progress: Progress | None = None
    told: Progress | None = None
    began: float = field(default_factory=time.monotonic)


class Workbench:
    """Does jobs with one enricher; `scratch` is a folder on a local disk."""

    def __init__(
        self, folder: JobFolder, enricher: Enricher, scratch: Path, whoami: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._enricher = enricher
        self._scratch = scratch
        self._whoami = dict(whoami)

    async def do(self, hand: Hand, stopping: Callable[[], bool]) -> Result:
        """Do a job; its result is stored, but not yet said to be there.

        Raises:
            Withdrawn: it was dropped, or the worker stops.
            OSError: nothing is wrong with the job; it can be tried again.
        """
        try:
            return await self._enriched(hand, lambda: hand.dropped or stopping())
        except Withdrawn:
            raise
        except Torn as error:
            trouble = Trouble("internal", "The job's payload is not what was stored", str(error))
        except PayloadFault as error:
            trouble = Trouble("payload", error.title, error.detail, error.status, error.members)
        except PipelineError as error:
            trouble = Trouble("pipeline", "The request can't be enriched", str(error))
        except OSError:
            raise
        except Exception as error:
            log.exception("defect", extra={"job": hand.job.name})
            # Not its text: that may hold a piece of a record or of the configuration.
            detail = (
                f"{type(error).__name__}; the worker's log on {self._whoami['host']} says where"
            )
            trouble = Trouble("internal", "Enrichment broke down", detail)
        return self.failed(hand.job.name, trouble)

    def failed(self, name: str, trouble: Trouble) -> Result:
        """The result of a job that can't be done."""
        return Result(name, self._whoami, timestamp(time.time()), trouble=trouble)

    async def _enriched(self, hand: Hand, cancelled: Callable[[], bool]) -> Result:
        job = hand.job

        def note(progress: Progress) -> None:
            hand.progress = progress

        with self._source(job.digest.size) as source, self._sink() as sink:
            await self._folder.fetch(job, source)
            pipeline = self._enricher.choose(job.original_name, job.pipeline)
            done = await self._enricher.run(
                pipeline,
                job.original_name,
                source,
                sink,
                exchange=job.name,
                cancelled=cancelled,
                report=note,
            )
            file, digest = await self._folder.store(job.name, sink)
        return Result(
            job=job.name,
            worker=self._whoami,
            ended=timestamp(time.time()),
            outcome=done.outcome,
            stats=sums(done.stats),
            pipeline=pipeline.name,
            file=file,
            digest=digest,
        )

    def _source(self, size: int) -> BinaryIO:
        if size <= _IN_MEMORY:
            return io.BytesIO()
        return cast("BinaryIO", tempfile.TemporaryFile(dir=self._scratch))

    def _sink(self) -> BinaryIO:
        sink = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._scratch))  # noqa: SIM115
        return cast("BinaryIO", sink)

    def forget(self, name: str) -> None:
        """The job is over: nothing that was paid for it has to be remembered."""
        self._enricher.forget(name)

    async def forget_gone(self) -> None:
        """Forget the jobs that an earlier life was at and that are gone. Raises OSError."""
        known = self._enricher.open_scopes()
        if known:
            there = await self._folder.listing()
            for name in known - (there.asked - there.done):
                self._enricher.forget(name)
