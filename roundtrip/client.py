"""The way in for programs: hand a file to A's agent and wait for its answer.

    result = roundtrip.Client("roundtrip.yaml").enrich("orders.csv")
    result.outcome, result.path, result.read()

Submitting is a durable rename into the agent's `state/submit/`, so it works while the agent is
down; waiting is told by the kernel, not by polling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from roundtrip.config import Settings, load
from roundtrip.errors import ConfigError, InputError, RoundtripError
from roundtrip.handing_in import fitted, opened, told_if_full
from roundtrip.places import Places
from roundtrip.protocol.documents import printable
from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.names import Namer, check_exchange
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.progress import ProgressNote
from roundtrip.roles import ticket as tickets
from roundtrip.roles.expiry import deadline_in
from roundtrip.roles.ticket import Restarts as Restarts
from roundtrip.roles.ticket import Ticket
from roundtrip.roles.wishes import wish
from roundtrip.shares.lock import holder_of
from roundtrip.shares.posix import PosixFolder
from roundtrip.stages import Stages
from roundtrip.waiting import LOOK_ANYWAY, Result, Waiting, asks_for_reply, knows, restarts


class EnrichmentFailed(RoundtripError):
    """The answer is `failed`; `problem` says why, `result` where the document lies."""

    def __init__(self, result: Result, problem: Problem) -> None:
        # B wrote these words, and somebody will print them.
        super().__init__(printable(f"{result.exchange}: {problem.title}: {problem.detail}"))
        self.result = result
        self.problem = problem


class AsyncClient:
    """Submits files to the agent of role a on this host and waits for answers.

    `config` is the agent's configuration file, searched as every command does if None.

    Raises:
        ConfigError: the configuration can't be used.
        ShareError: the agent's folders aren't there.
    """

    def __init__(self, config: str | Path | None = None) -> None:
        settings = load(Path(config) if config is not None else None, "a", secrets="named")
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
        try:
            result = await self.wait(exchange, timeout=timeout)
        except EnrichmentFailed:
            self.forget(exchange)
            raise
        self.forget(exchange)
        return result

    async def submit(
        self,
        path: str | Path,
        *,
        pipeline: str | None = None,
        deadline: float | None = None,
        again: Restarts | None = None,
        mail: str | None = None,
    ) -> str:
        """Hand a copy of a file to the agent; returns the exchange's name at once.

        Args:
            path: a regular file.
            pipeline, deadline: see `enrich`.
            again: how often a job that failed is started again.
            mail: the address that its end is mailed to, by the configuration's `mail` server.

        Raises:
            InputError: the file can't be read, the deadline is none, or `mail` is no address.
            ConfigError: nobody can be mailed to: there is no mail server.
            ShareError: there is no room for the copy beside `limits.reserve`.
        """
        source = Path(path)
        with opened(source) as file:
            return await self.submit_stream(
                file, source.name, pipeline=pipeline, deadline=deadline, again=again, mail=mail
            )

    async def submit_stream(
        self,
        source: BinaryIO,
        name: str,
        *,
        pipeline: str | None = None,
        deadline: float | None = None,
        again: Restarts | None = None,
        mail: str | None = None,
    ) -> str:
        """Hand a stream's content to the agent under an original name.

        Raises:
            InputError: the name can't be a file's: it has a slash, say; or as `submit`.
            ShareError: there is no room for it beside `limits.reserve`.
        """
        if not tickets.is_file_name(name):
            raise InputError(f"{name[:80]!r} can't be a file's name, so no result can have it")
        if deadline is not None and not deadline > 0:
            raise InputError(f"deadline: {deadline!r} is none; it is a number of seconds above 0")
        self.check_mail(mail)
        until = None if deadline is None else deadline_in(deadline)
        exchange = self._namer(name)
        ticket = tickets.file_of(exchange)
        with (
            closing(PosixFolder(self.places.tickets)) as folder,
            closing(PosixFolder(self.places.submit)) as submit,
            told_if_full(submit),
        ):
            source = await fitted(source, submit, self._settings.limits.reserve)
            wanted = Ticket(name, pipeline, until, reply=True, mail=mail, again=again)
            await folder.put(ticket, wanted.encode(), durable=True)
            try:
                await submit.put(exchange, source, durable=True)
            except BaseException:
                await folder.remove(ticket)
                raise
        return exchange

    def check_mail(self, address: str | None) -> None:
        """Find out whether the end of an exchange can be mailed there; None needs no mail.

        Raises:
            InputError: it is no address.
            ConfigError: there is no mail server.
        """
        if address is None:
            return
        if not tickets.is_address(address):
            raise InputError(f"{address[:80]!r} is no mail address")
        if self._settings.mail is None:
            raise ConfigError(["nobody can be mailed to: the configuration has no `mail` section"])

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

        Whether it was waited for before does not matter, until `forget` or 30 days later.

        Raises:
            EnrichmentFailed: the answer is `failed`, or none came before the deadline.
            InputError: nothing of this name was submitted here, or it was forgotten.
            StillWaiting: `timeout` seconds have passed.
        """
        async with self.waiting() as waiting:
            result = await waiting.result(
                exchange, timeout=timeout, on_state=on_state, on_progress=on_progress
            )
        if result.outcome is Outcome.FAILED:
            raise EnrichmentFailed(result, result.problem())
        return result

    def waiting(self, look: float = LOOK_ANYWAY) -> Waiting:
        """A context manager that waits for many exchanges at once: see `Waiting.result`.

        `look` is after how many seconds without an event of the kernel it looks by itself.
        """
        return Waiting(self._settings, self.places, look)

    def knows(self, exchange: str) -> bool:
        """Whether somebody may still want the answer to an exchange that was submitted here."""
        return knows(self.places, exchange)

    async def stage(self, exchange: str) -> str:
        """How far an exchange is: see `Stages.of`."""
        async with Stages(self._settings) as stages:
            return await stages.of(exchange)

    def restarts(self, exchange: str) -> Restarts | None:
        """The attempts at an exchange of which some have failed already; None if none has."""
        return restarts(self.places, exchange)

    async def sent(self) -> list[tuple[str, str]]:
        """What programs and people have submitted and can pick up, with its stage or outcome."""
        found = []
        async with Stages(self._settings) as stages, self.waiting() as waiting:
            for exchange in sorted(self._awaited()):
                result = await waiting.outcome(exchange)
                if result is None:
                    found.append((exchange, await stages.of(exchange)))
                elif result.is_there():
                    found.append((exchange, result.outcome.value))
        return found

    def _awaited(self) -> Iterator[str]:
        outcomes = {tickets.exchange_of(path.name) for path in self.places.outcomes.iterdir()}
        yield from (exchange for exchange in outcomes if exchange is not None)
        for path in self.places.tickets.iterdir():
            exchange = tickets.exchange_of(path.name)
            if exchange is not None and exchange not in outcomes and asks_for_reply(path):
                yield exchange

    def forget(self, exchange: str) -> None:
        """Remove the record of an answer that has been seen: nobody can wait for it any more."""
        (self.places.outcomes / tickets.file_of(exchange)).unlink(missing_ok=True)

    def is_needed(self, result: Result) -> bool:
        """Whether a delivery of this exchange is due, or dead, and needs the answer's file."""
        from roundtrip.deliveries import is_owed

        return is_owed(self.places, result.exchange)

    def is_told_of(self, result: Result) -> bool:
        """Whether a delivery tells others where the answer lies."""
        if not self._settings.deliveries:
            return False
        return any(
            each.wants(result.outcome.value, pipeline, result.path.name, asked=False)
            for each in self._settings.deliveries
            for pipeline in each.pipelines or (None,)  # B may have chosen any.
        )

    async def cancel(self, exchange: str) -> bool:
        """Ask the agent to give an exchange up: it fails, at once, or when an agent runs.

        Returns whether there was anything to give up. Nobody is told when that has happened but
        who waits for the exchange; what is delivered already stays so.
        """
        if not self.is_under_way(check_exchange(exchange)):
            return False
        self.places.cancels.mkdir(mode=0o700, exist_ok=True)
        with closing(PosixFolder(self.places.cancels)) as folder:
            await wish(folder, exchange)
        return True

    def is_under_way(self, exchange: str) -> bool:
        """Whether an answer to it is still wanted."""
        # In this order: from the one it goes to the other.
        return any((each / exchange).exists() for each in (self.places.submit, self.places.pending))

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
        self,
        path: str | Path,
        *,
        pipeline: str | None = None,
        deadline: float | None = None,
        again: Restarts | None = None,
        mail: str | None = None,
    ) -> str:
        """Hand a copy of a file to the agent: see `AsyncClient.submit`."""
        return asyncio.run(
            self._client.submit(path, pipeline=pipeline, deadline=deadline, again=again, mail=mail)
        )

    def cancel(self, exchange: str) -> bool:
        """Give an exchange up: see `AsyncClient.cancel`."""
        return asyncio.run(self._client.cancel(exchange))

    def wait(self, exchange: str, *, timeout: float | None = None) -> Result:
        """Wait for a submitted exchange's answer: see `AsyncClient.wait`."""
        return asyncio.run(self._client.wait(exchange, timeout=timeout))

    def forget(self, exchange: str) -> None:
        """Nobody will wait for it any more: see `AsyncClient.forget`."""
        self._client.forget(exchange)
