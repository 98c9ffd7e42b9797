"""The way in for programs: hand a file to A's agent and wait for its answer.

    result = roundtrip.Client("roundtrip.yaml").enrich("orders.csv")
    result.outcome, result.path, result.read()

Submitting is a durable rename into the agent's `state/submit/`, so it works while the agent is
down; waiting is told by the kernel, not by polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from roundtrip.config import Settings, load
from roundtrip.errors import InputError, RoundtripError, StillWaiting
from roundtrip.handing_in import fitted, told_if_full
from roundtrip.places import Places
from roundtrip.protocol.documents import printable
from roundtrip.protocol.markers import MAX_BYTES, Outcome
from roundtrip.protocol.names import Namer, check_exchange
from roundtrip.protocol.problem import MAX_BYTES as LARGEST_PROBLEM
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.progress import ProgressNote
from roundtrip.roles import ticket as tickets
from roundtrip.roles.expiry import deadline_in
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.lock import holder_of
from roundtrip.shares.posix import PosixFolder
from roundtrip.stages import Stages
from roundtrip.teller import ProgressTeller
from roundtrip.watch import Event, Kind, Watch, WatchSettings

_LOOK_ANYWAY = 5.0
"""Seconds after which a waiting caller looks even without an event: events are hints."""


class EnrichmentFailed(RoundtripError):
    """The answer is `failed`; `problem` says why, `result` where the document lies."""

    def __init__(self, result: Result, problem: Problem) -> None:
        # B wrote these words, and somebody will print them.
        super().__init__(printable(f"{result.exchange}: {problem.title}: {problem.detail}"))
        self.result = result
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: `path` is the enriched file in the inbox, or the problem document in failed/."""

    exchange: str
    outcome: Outcome
    path: Path

    def read(self) -> bytes:
        """The answer's content."""
        return self.path.read_bytes()

    def problem(self) -> Problem:
        """What a `failed` answer says."""
        with self.path.open("rb") as file:
            return Problem.decode(file.read(LARGEST_PROBLEM + 1), self.exchange)


class AsyncClient:
    """Submits files to the agent of role a on this host and waits for answers.

    `config` is the agent's configuration file, searched as every command does if None.

    Raises:
        ConfigError: the configuration can't be used.
        ShareError: the agent's folders aren't there.
    """

    def __init__(self, config: str | Path | None = None) -> None:
        settings = load(Path(config) if config is not None else None, "a")
        self._set_up(settings)

    def _set_up(self, settings: Settings) -> None:
        self._settings = settings
        self.places = Places(settings)
        self.places.check()
        self._namer = Namer()

    async def enrich(
        self,
        path: str | Path,
        *,
        pipeline: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Result:
        """Submit a file and wait for its answer; the file itself stays where it is.

        Args:
            path: a regular file.
            pipeline: the pipeline's name; chosen by B from the file's name if None.
            timeout: seconds to wait, for ever if None; the exchange goes on without us.
            deadline: seconds after which the exchange itself is given up, and fails; as configured
                (`timing.deadline`) if None.

        Raises:
            InputError: the file can't be read, or the deadline is none.
            EnrichmentFailed: the answer is `failed`, or none came before the deadline.
            StillWaiting: time ran out; `wait` goes on with the exchange that its text names.
        """
        exchange = await self.submit(path, pipeline=pipeline, deadline=deadline)
        result = await self.wait(exchange, timeout=timeout)
        self.forget(exchange)
        if result.outcome is Outcome.FAILED:
            raise EnrichmentFailed(result, result.problem())
        return result

    async def submit(
        self, path: str | Path, *, pipeline: str | None = None, deadline: float | None = None
    ) -> str:
        """Hand a copy of a file to the agent; returns the exchange's name at once.

        Raises:
            InputError: the file can't be read, or the deadline is none.
            ShareError: there is no room for the copy beside `limits.reserve`.
        """
        source = Path(path)
        try:
            if not source.is_file():
                what = "not a regular file" if source.exists() else "no such file"
                raise InputError(f"{source}: {what}")
            with source.open("rb") as file:
                return await self.submit_stream(
                    file, source.name, pipeline=pipeline, deadline=deadline
                )
        except PermissionError as error:
            if error.filename == str(source):
                raise InputError(f"{source}: can't be read: {error.strerror}") from error
            raise

    async def submit_stream(
        self,
        source: BinaryIO,
        name: str,
        *,
        pipeline: str | None = None,
        deadline: float | None = None,
    ) -> str:
        """Hand a stream's content to the agent under an original name.

        Raises:
            InputError: the name can't be a file's: it has a slash, say; or the deadline is none.
            ShareError: there is no room for it beside `limits.reserve`.
        """
        if not tickets.is_file_name(name):
            raise InputError(f"{name[:80]!r} can't be a file's name, so no result can have it")
        if deadline is not None and not deadline > 0:
            raise InputError(f"deadline: {deadline!r} is none; it is a number of seconds above 0")
        until = None if deadline is None else deadline_in(deadline)
        exchange = self._namer(name)
        ticket = tickets.file_of(exchange)
        with (
            closing(PosixFolder(self.places.tickets)) as folder,
            closing(PosixFolder(self.places.submit)) as submit,
            told_if_full(submit),
        ):
            source = await fitted(source, submit, self._settings.limits.reserve)
            wanted = Ticket(name, pipeline, until, reply=True)
            await folder.put(ticket, wanted.encode(), durable=True)
            try:
                await submit.put(exchange, source, durable=True)
            except BaseException:
                await folder.remove(ticket)
                raise
        return exchange

    async def wait(
        self,
        exchange: str,
        *,
        timeout: float | None = None,
        on_state: Callable[[str], None] | None = None,
        on_progress: Callable[[ProgressNote], None] | None = None,
    ) -> Result:
        """Wait for the answer to an exchange that was submitted here.

        `on_state` is told of each new stage: submitted, pending, then the protocol's states.
        `on_progress` is told how far B is, once a second at most, and never within the first.

        Raises:
            StillWaiting: `timeout` seconds have passed.
        """
        check_exchange(exchange)
        woken = asyncio.Event()
        progress = on_progress and ProgressTeller(exchange, self.places.enriched, on_progress)

        def deliver(events: list[Event]) -> None:
            if any(event.name.startswith(exchange) or not event.name for event in events):
                woken.set()
            if progress is not None and progress.notice(events):
                woken.set()

        watch = Watch(deliver, WatchSettings())
        try:
            self._watch(watch)
            async with asyncio.timeout(timeout):
                return await self._wait(exchange, woken, on_state, progress)
        except TimeoutError:
            raise StillWaiting(
                f"{exchange}: no answer yet after {timeout:g} s; nothing is lost, it is still "
                "under way"
            ) from None
        finally:
            watch.close()

    def _watch(self, watch: Watch) -> None:
        kinds = frozenset({Kind.APPEARED, Kind.REMOVED})
        watch.add("outcomes", self.places.outcomes, kinds)
        watch.add("collected", self.places.collected, kinds)
        watch.add("enriched", self.places.enriched, kinds)

    async def _wait(
        self,
        exchange: str,
        woken: asyncio.Event,
        on_state: Callable[[str], None] | None,
        progress: ProgressTeller | None,
    ) -> Result:
        async with Stages(self._settings) as stages:
            while True:
                woken.clear()
                if result := await self._outcome(exchange):
                    return result
                if on_state is not None:
                    on_state(await stages.of(exchange))
                pause = _LOOK_ANYWAY if progress is None else await progress.tell(_LOOK_ANYWAY)
                with contextlib.suppress(TimeoutError):  # Look even without an event.
                    await asyncio.wait_for(woken.wait(), pause)

    async def _outcome(self, exchange: str) -> Result | None:
        """The answer, if it is delivered: its record is there and the private copy is not."""
        with closing(PosixFolder(self.places.outcomes)) as folder:
            try:
                record = json.loads(await folder.read(tickets.file_of(exchange), MAX_BYTES))
            except FileNotFoundError:
                return None
        copies = (exchange, f"{exchange}~problem")
        if any((self.places.collected / copy).exists() for copy in copies):
            return None
        return _result(exchange, record)

    async def stage(self, exchange: str) -> str:
        """How far an exchange is: see `Stages.of`."""
        async with Stages(self._settings) as stages:
            return await stages.of(exchange)

    def forget(self, exchange: str) -> None:
        """Remove the record of an answer that has been seen."""
        (self.places.outcomes / tickets.file_of(exchange)).unlink(missing_ok=True)

    def agent_runs(self) -> bool:
        """Whether an agent of role a is at work on this host."""
        return holder_of(self.places.lock) is not None


class Client:
    """The same as `AsyncClient`, for programs without an event loop."""

    def __init__(self, config: str | Path | None = None) -> None:
        self._client = AsyncClient(config)

    def enrich(
        self,
        path: str | Path,
        *,
        pipeline: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Result:
        """Submit a file and wait for its answer: see `AsyncClient.enrich`."""
        return asyncio.run(
            self._client.enrich(path, pipeline=pipeline, timeout=timeout, deadline=deadline)
        )

    def submit(
        self, path: str | Path, *, pipeline: str | None = None, deadline: float | None = None
    ) -> str:
        """Hand a copy of a file to the agent: see `AsyncClient.submit`."""
        return asyncio.run(self._client.submit(path, pipeline=pipeline, deadline=deadline))

    def wait(self, exchange: str, *, timeout: float | None = None) -> Result:
        """Wait for a submitted exchange's answer: see `AsyncClient.wait`."""
        return asyncio.run(self._client.wait(exchange, timeout=timeout))


def _result(exchange: str, record: dict[str, Any]) -> Result:
    return Result(exchange, Outcome(record["outcome"]), Path(record["path"]))
