"""The agent's side: stands for enrichment at the responder's port, and lets workers do it.

    __call__ --> payload and job into the folder --> a message --> workers
             <-- result in the folder <-- woken by a hint, an event of the folder, or a timer

What lies in the folder is found again by the next life of the agent, so nothing is paid twice. A
job lives as long as its exchange: `forget` removes it, and a worker that is at it stops.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from roundtrip.dispatch.folder import JobFolder, Torn
from roundtrip.dispatch.hints import Hint
from roundtrip.dispatch.job import Job, Result, addressed
from roundtrip.dispatch.link import Link
from roundtrip.dispatch.room import RESULTS
from roundtrip.dispatch.supervision import Supervision
from roundtrip.enrich import PayloadFault, Withdrawn
from roundtrip.enrich.results import Progress
from roundtrip.errors import PipelineError, ShareError
from roundtrip.protocol.markers import Digest, Outcome, RequestMarker
from roundtrip.queue.port import Broker
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.health import Health
from roundtrip.watch import Event, Kind, Watch, WatchSettings

log = logging.getLogger("roundtrip.dispatch")

_LOOK = 1.0  # seconds between two questions whether a job is still wanted
_CHUNK = 1024 * 1024


@dataclass(slots=True, eq=False)
class Waiting:
    """An exchange that waits for the result of its job."""

    report: Callable[[Progress], None]
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Desk:
    """Implements `Enrich`, from `open` to `aclose`."""

    def __init__(
        self,
        folder: JobFolder,
        broker: Broker,
        health: Health,
        *,
        beat: float,
        watching: WatchSettings,
    ) -> None:
        self._folder = folder
        self._waiting: dict[str, Waiting] = {}
        self._queue = ""
        self._link = Link(
            broker,
            health,
            on_hint=self._heed,
            waited_for=lambda: self._waiting,
            address=lambda job: addressed(self._queue, job),
        )
        self.supervision = Supervision(
            folder,
            self._link,
            health,
            beat=beat,
            waiting=self._waiting.keys,
            wake=self._wake,
            found=self._note,
        )
        self._scopes: set[str] = set()
        self._over: set[str] = set()
        self._removing: set[str] = set()
        self._cleaning: asyncio.Task[None] | None = None
        self._watching = watching
        self._watch: Watch | None = None

    async def open(self) -> None:
        """Make the folder if it is missing, see what an earlier life has left, and connect.

        Raises:
            ShareError: the folder can't be used.
        """
        room = self._folder.room
        try:
            await room.do(room.make)
            self._queue = await room.identity()
            self._scopes = (await self._folder.listing()).exchanges()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ShareError(f"{room.path}: the queue's folder can't be used: {reason}") from error
        self._watch = Watch(self._notice, self._watching)
        self._watch.add("results", room.path / RESULTS, frozenset({Kind.CREATED, Kind.APPEARED}))
        self._link.start()
        self.supervision.start()

    async def aclose(self) -> None:
        """Wait for nothing more; workers go on, and the next life finds what they did."""
        if self._watch is not None:
            self._watch.close()
        await self.supervision.close()
        await self._link.close()
        if self._cleaning is not None:
            await asyncio.wait([self._cleaning])
        self._folder.room.close()

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        """See `Enrich`. Raises OSError while the folder can't be used."""
        job = Job.of(request, request.digest or await self._digest(source))
        name = job.name
        while self._cleaning and job.exchange in self._over | self._removing:
            await asyncio.wait([self._cleaning])  # Else what is asked now would go with it.
            self._over.discard(job.exchange)
        self._scopes.add(job.exchange)
        waiting = self._waiting[name] = Waiting(report)
        try:
            result = await self._folder.result(name)
            if result is None:
                await self._folder.add(job, source)
                self._link.publish(name)
                result = await self._ended(name, waiting, cancelled)
            return await self._answer(result, sink)
        finally:
            self._waiting.pop(name, None)
            self._link.drop(name)

    async def _digest(self, source: BinaryIO) -> Digest:
        """Of a request whose marker says none."""

        def work() -> Digest:
            found, size = hashlib.sha256(), 0
            source.seek(0)
            while piece := source.read(_CHUNK):
                found.update(piece)
                size += len(piece)
            return Digest(size, found.hexdigest())

        return await self._folder.room.do(work, patient=True)

    async def _ended(self, name: str, waiting: Waiting, cancelled: Callable[[], bool]) -> Result:
        """Wait for the result; a timer of `Supervision` looks even if nothing else wakes."""
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    await waiting.woken.wait()
            except TimeoutError:
                if cancelled():
                    raise Withdrawn from None
                continue
            waiting.woken.clear()
            try:
                result = await self._folder.result(name)
            except OSError:
                continue  # The supervision says so, and wakes us when the folder is there again.
            if result is not None:
                return result
            if not await self._folder.is_wanted({name}):
                raise OSError(f"{name}: the job has gone from the queue's folder")

    async def _answer(self, result: Result, sink: BinaryIO) -> Answer:
        trouble = result.trouble
        if trouble is not None and trouble.kind == "pipeline":
            raise PipelineError(trouble.detail)
        if trouble is not None:
            raise PayloadFault(
                trouble.title, trouble.detail, status=trouble.status, members=trouble.members
            )
        try:
            if result.file is not None:
                await self._folder.collect(result, sink)
            return Answer(Outcome(result.outcome), dict(result.stats), result.pipeline)
        except (Torn, FileNotFoundError, ValueError) as error:
            # Looked at again soon, and then the job is published once more.
            await self._folder.spoil(result.job)
            log.warning("result unusable", extra={"job": result.job, "reason": str(error)})
            raise OSError(f"{result.job}: the result is unusable: {error}") from None

    # -- what wakes

    def _heed(self, hint: Hint) -> None:
        waiting = self._waiting.get(hint.job)
        if waiting is None:
            return
        if hint.progress is None:
            waiting.woken.set()
        else:
            waiting.report(hint.progress)

    def _notice(self, events: list[Event]) -> None:
        for event in events:
            if event.name.endswith(".json"):
                self._wake(event.name.removesuffix(".json"))

    def _wake(self, name: str) -> None:
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.woken.set()

    def _note(self, exchanges: set[str]) -> None:
        """These have something in the folder: a worker may write a result that nobody wants."""
        self._scopes |= exchanges

    # -- what is over

    def details(self) -> dict[str, Any]:
        """What `status` shows of the queue."""
        return {"queue": self.supervision.figures()}

    def forget(self, exchange: str) -> None:
        """See `Enrich`: the job, its result and its traces go; a worker that is at it stops."""
        if exchange not in self._scopes:
            return
        self._over.add(exchange)
        if self._cleaning is None or self._cleaning.done():
            self._cleaning = asyncio.get_running_loop().create_task(self._clean())

    def open_scopes(self) -> set[str]:
        """See `Enrich`: the exchanges of which anything lies in the folder."""
        return set(self._scopes)

    async def _clean(self) -> None:
        while self._over:
            over, self._over = self._over, set()
            self._removing = over
            try:
                await self._folder.remove(over)
            except OSError as error:  # They stay in `_scopes`: the next full listing tries again.
                log.warning("jobs not removed", extra={"error": str(error)})
                return
            finally:
                self._removing = set()
            self._scopes -= over
