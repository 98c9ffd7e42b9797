"""Asynchronous APIs: a job is submitted once, then asked for until it is finished.

    make --no ticket--> submit --ticket, durable--+
         \\--ticket (of a process that ended)-------+--> poll ... poll --> result

The ticket is in the ledger: whoever finds it goes on polling. It holds no secrets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

import httpx

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.outcomes import retry_after
from roundtrip.enrich.run import Run, Wait
from roundtrip.enrich.settings import Job
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.steps.http.answers import selector
from roundtrip.enrich.steps.http.calls import HttpCall
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.places import Place, members
from roundtrip.enrich.steps.http.wire import Answer
from roundtrip.template import Fields

ACCEPTED = 202
SEE_OTHER = 303
SHORTEST = 1.0  # seconds between polls, whatever Retry-After says (or `every`, if that is less)

T = TypeVar("T")
Fetch = Callable[[Answer, httpx.URL | None], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job that was submitted: where to ask for it, since when (Unix time), what is known.

    No `url`: it is made of `fields`, as `job.url` says, which may hold secrets. `without` names the
    step's own parameters that were taken out of `url`, for the same reason. `call` is the key of
    the call that it was submitted for, if that may be shared.
    """

    url: str
    since: float
    fields: dict[str, object]
    without: Sequence[str] = ()
    call: str = ""


class JobCall(HttpCall):
    """A request that submits a job; its answer is the job's result."""

    __slots__ = ("_jobs",)

    def __init__(
        self,
        step: Compiled,
        target: str,
        headers: httpx.Headers,
        content: bytes | None,
        jobs: Jobs,
    ) -> None:
        super().__init__(step, target, headers, content)
        self._jobs = jobs

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`. A result is fetched once: `etag` is not used."""
        step, jobs = self.step, self._jobs

        async def submit() -> Answer:
            url = step.origin.url(self.target)
            return await self.sent(run, url, self.repeatable(run), SEE_OTHER)

        async def fetch(poll: Answer, url: httpx.URL | None) -> Answer:
            if url is None:
                return poll
            attempt = partial(step.wire.attempt, run, "GET", url, without_content(self.headers))
            return await step.gate.call(attempt, run)

        key = step.ticket_key(self.target, self.headers, self.content)
        answer = await jobs.done(run, key, self.headers, submit, fetch, self.key)
        drop_ticket(run, key)
        return step.answered(answer)


class Jobs:
    """What a step's `job` says; compiled once."""

    def __init__(self, job: Job, step: Compiled) -> None:
        """ValueError, in one line, when the settings can't be used."""
        if job.status is not None and not job.done:
            raise ValueError("job.status needs job.done: the values that end the job well")
        self._job = job
        self._step = step
        self._status = selector(job.status) if job.status is not None else None
        self._poll = Place(job.url, step) if job.url is not None else None
        self._result = Place(job.result, step) if job.result is not None else None

    async def done(
        self,
        run: Run,
        key: bytes,
        headers: httpx.Headers,
        submit: Callable[[], Awaitable[Answer]],
        fetch: Fetch[T],
        call: bytes = b"",
    ) -> T:
        """What `fetch` makes of the finished job, which is submitted unless the ledger has it.

        Its ticket stays, unless the job failed: what it brought may be too large to be recorded.
        Exchanges that make the same `call` share the job, also when they go on after a restart.

        `key` names the job in the ledger; `headers` are those of the submission. `fetch` gets the
        last poll's answer, and the URL of the result if there is one. Raises RecordFault.
        """
        pause = 0.0
        ticket = _known(run, key, call.hex())
        if ticket is None:
            answer = await submit()
            found = self._ticket(answer)
            if found is None:
                return await fetch(answer, self._result_url(answer, {}))
            ticket, pause = replace(found, call=call.hex()), self._pause(answer)
            run.store.ledger.put_ticket(run.exchange, key, json_text.encode(asdict(ticket)))
            await run.store.durable()
        run.waits[key] = Wait(self._reason(ticket))
        try:
            result = await self._polled(run, ticket, pause, without_content(headers), fetch)
        except RecordFault as fault:
            if fault.lasting:
                drop_ticket(run, key)
            raise
        finally:
            run.waits.pop(key, None)
        return result

    async def _polled(
        self, run: Run, ticket: Ticket, pause: float, headers: httpx.Headers, fetch: Fetch[T]
    ) -> T:
        """Poll until the job is over. What may pass (a dead host) only makes it take longer."""
        step = self._step
        url = self._place(ticket)
        attempt = partial(step.wire.attempt, run, "GET", url, headers, None, True, SEE_OTHER)
        until = ticket.since + self._job.within
        while (left := until - time.time()) > 0:
            if pause:
                await step.sleep(min(pause, left))
            pause = self._job.every
            try:
                answer = await step.gate.call(attempt, run)
                if self._is_over(answer):
                    return await fetch(answer, self._result_url(answer, ticket.fields))
                pause = self._pause(answer)
            except StepFault:
                raise
            except PassingFault:
                continue
        detail = f"its job was not finished within {self._job.within:g} s (job.within)"
        raise step.fault("No answer in time", detail)

    def _place(self, ticket: Ticket) -> httpx.URL:
        """Where a job is asked for. RecordFault."""
        step = self._step
        if ticket.url:
            return step.recarried(ticket.url, ticket.without)
        if self._poll is None:
            detail = "its job was submitted when the step had a job.url, and now it has none"
            raise step.fault("Unknown place", detail)
        return self._poll.url(ticket.fields, step.origin.url("/"))

    def _ticket(self, answer: Answer) -> Ticket | None:
        """The job that this submission began; None when its answer is the result already."""
        step = self._step
        value: object = None
        if self._poll is not None or self._result is not None:
            value = step.value(answer)
        if self._status is not None and answer.status != SEE_OTHER and self._is_over(answer):
            return None
        fields = self._result.known(members(value)) if self._result is not None else {}
        if self._poll is not None:
            url = self._poll.url(members(value), answer.url)
            if self._poll.is_template:
                fields |= self._poll.known(members(value))
                return Ticket("", time.time(), fields)
        elif (location := answer.headers.get("location")) is not None:
            url = step.elsewhere(location, answer.url)
        elif answer.status == ACCEPTED or self._status is not None:
            detail = "it accepted a job without a Location to ask at; give job.url"
            raise step.fault("Unusable answer", detail)
        else:
            return None
        written, without = step.uncarried(url)
        return Ticket(written, time.time(), fields, without)

    def _is_over(self, answer: Answer) -> bool:
        """RecordFault when the job failed."""
        if answer.status == SEE_OTHER:
            return True
        if self._status is None:
            return answer.status != ACCEPTED
        step = self._step
        found = step.answers.found(self._status, step.value(answer), "job.status")
        status = str(found).lower() if isinstance(found, bool) else str(found)
        if status in self._job.failed:
            raise step.fault("Job failed", f"its job ended as {status!r}")
        return found is not None and status in self._job.done

    def _result_url(self, answer: Answer, known: Fields) -> httpx.URL | None:
        if answer.status == SEE_OTHER:
            location = answer.headers.get("location")
            if location is None:
                raise self._step.fault("Unusable answer", "it answered 303 without a Location")
            return self._step.elsewhere(location, answer.url)
        if self._result is None:
            return None
        return self._result.url({**known, **members(self._step.value(answer))}, answer.url)

    def _pause(self, answer: Answer) -> float:
        asked = retry_after(answer.headers.get("retry-after"))
        every = self._job.every
        return every if asked is None else max(asked, min(every, SHORTEST))

    def _reason(self, ticket: Ticket) -> str:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ticket.since))
        return f"step {self._step.name}: a job of {self._step.url.host}, since {since}"


def without_content(headers: httpx.Headers) -> httpx.Headers:
    """The headers without those about content: for a request that has none."""
    kept = [item for item in headers.raw if not item[0].lower().startswith(b"content-")]
    return httpx.Headers(kept)


def _known(run: Run, key: bytes, call: str) -> Ticket | None:
    """The ticket of the exchange, or else of another one that makes the same call."""
    ledger = run.store.ledger
    kept = ledger.ticket(run.exchange, key)
    if kept is not None:
        return _read(kept)
    for shared in ledger.tickets(key) if call else ():
        ticket = _read(shared)
        if ticket.call == call:
            ledger.put_ticket(run.exchange, key, shared)  # the other may be withdrawn
            return ticket
    return None


def _read(kept: bytes) -> Ticket:
    found = json_text.decode(kept, floats=True)
    assert isinstance(found, dict)  # written above
    return Ticket(**found)


def drop_ticket(run: Run, key: bytes) -> None:
    """Forget a job that is over, once its answer is recorded."""
    # Later, so that it comes after the answer, which the caller records before it lets go of the
    # loop: a crash in between must not find neither of the two.
    drop = run.store.ledger.drop_ticket
    asyncio.get_running_loop().call_soon(drop, run.exchange, key)
