"""Format raw: the whole payload is a request's body, and the answer's body is the result.

Small bodies take the short way, in one piece and on the loop; large ones are streamed, their files
read and written in threads, so memory stays constant and the loop free.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import BinaryIO, TypeVar

import httpx

from roundtrip.enrich.check import sends_content
from roundtrip.enrich.faults import RecordFault, Transient
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps.http.calls import Shown, repeat_key, shown
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.jobs import SEE_OTHER, Jobs, without_content
from roundtrip.enrich.steps.http.reading import close, pieces, whole
from roundtrip.enrich.steps.http.wire import Answer, plus
from roundtrip.enrich.whole import SMALL

CHUNK = 1024 * 1024  # bytes read from a file at a time

T = TypeVar("T")
Take = Callable[[httpx.Response], Awaitable[T]]


class PayloadCall:
    """One step's call with a whole payload. `sink` is only appended to.

    A call is tried again as long as nothing of its answer has gone into the sink.
    """

    def __init__(
        self, step: Compiled, name: str, source: BinaryIO, sink: BinaryIO, run: Run
    ) -> None:
        """RecordFault when the name can't stand where the step wants it."""
        self._step = step
        self._source = source
        self._sink = sink
        self._run = run
        self._poured = False
        self._unreadable: OSError | None = None
        self._size = source.seek(0, 2)
        self._deadline: asyncio.Timeout | None = None
        fields = {"name": name}
        target = step.url.target(fields)
        self._url = step.origin.url(target)
        sends_payload = sends_content(step.http) and not step.body.given
        self._content = None if sends_payload else step.body.make(fields)
        self._sends_payload = sends_payload
        headers = step.headers.render(fields, "*/*", "identity")
        self._target = target
        self._sent = (
            self._content or str(self._size).encode()
        )  # the exchange stands for its payload
        self._headers = headers

    async def run(self) -> str | None:
        """Make the call; the answer's media type. Raises RecordFault."""
        return await self._made(self._request, self._repeatable(), self._pour)

    async def run_job(self, jobs: Jobs) -> str | None:
        """Submit the payload as a job, and wait for its result; that one's media type."""
        key = self._step.ticket_key(self._target, self._headers, self._sent)
        headers = self._repeatable()
        submit = partial(self._made, self._request, headers, self._read_whole, SEE_OTHER)
        return await jobs.done(self._run, key, self._headers, submit, self._fetched)

    def shown(self) -> Shown:
        """What would be sent first; the body only if it is small."""
        content, size = self._content, self._size
        if self._sends_payload and size <= SMALL:
            self._source.seek(0)
            content = self._source.read()
        found = shown(self._step, self._url, self._headers, content)
        if self._sends_payload and size > SMALL:
            found.headers.append(("Content-Length", str(size)))
        return found

    async def _fetched(self, poll: Answer, url: httpx.URL | None) -> str | None:
        if url is None:
            self._sink.write(poll.body)
            return poll.media_type

        def request(headers: httpx.Headers) -> httpx.Request:
            return self._prepared("GET", url, headers, None)

        return await self._made(request, without_content(self._headers), self._pour)

    def _repeatable(self) -> httpx.Headers:
        header = self._step.repeat_header
        if header is None:
            return self._headers
        return plus(
            self._headers,
            header,
            repeat_key(self._run, self._step.key(self._target, self._headers, self._sent)),
        )

    async def _made(
        self,
        request: Callable[[httpx.Headers], httpx.Request],
        headers: httpx.Headers,
        take: Take[T],
        also: int = 0,
    ) -> T:
        step = self._step
        send = partial(self._attempt, request, take, also)
        return await step.gate.call(partial(step.wire.with_token, send, headers), self._run)

    async def _attempt(
        self,
        request: Callable[[httpx.Headers], httpx.Request],
        take: Take[T],
        also: int,
        headers: httpx.Headers,
    ) -> T:
        step = self._step
        prepared = request(headers)
        if also:
            prepared.extensions["as_is"] = also
        self._run.stats.calls += 1
        try:
            # `timeout` bounds the silence, not the whole: a large payload takes its time
            async with asyncio.timeout(step.settings.timeout) as self._deadline:
                return await self._answered(prepared, take, also)
        except TimeoutError:
            error: Exception = httpx.ReadTimeout("no answer in time")
        except (httpx.TransportError, httpx.DecodingError, OverflowError) as broken:
            error = broken
        finally:
            self._deadline = None
        if self._unreadable is not None:
            raise self._unreadable
        failure = step.wire.broken(error, prepared.method == "GET" or step.idempotent)
        if self._poured and isinstance(failure, Transient):
            fault = failure.fault
            raise RecordFault(fault.title, fault.detail, fault.status)
        raise failure

    async def _answered(self, request: httpx.Request, take: Take[T], also: int) -> T:
        step = self._step
        response = await step.wire.transport.handle_async_request(request)
        try:
            if response.status_code != also:
                await step.wire.judge(response, step.idempotent)
            return await take(response)
        finally:
            await close(response)

    def _request(self, headers: httpx.Headers) -> httpx.Request:
        content: bytes | AsyncIterator[bytes] | None = self._content
        if self._sends_payload and self._size <= SMALL:
            self._source.seek(0)
            content = self._source.read()
        elif self._sends_payload:
            content = self._pieces()
            headers = plus(headers, "content-length", str(self._size))
        return self._prepared(self._step.method, self._url, headers, content)

    def _prepared(
        self,
        method: str,
        url: httpx.URL,
        headers: httpx.Headers,
        content: bytes | AsyncIterator[bytes] | None,
    ) -> httpx.Request:
        patience = self._step.wire.connect_patience
        return httpx.Request(method, url, headers=headers, content=content, extensions=patience)

    async def _pieces(self) -> AsyncIterator[bytes]:
        self._source.seek(0)
        while piece := await asyncio.to_thread(self._read):
            self._alive()
            yield piece

    def _read(self) -> bytes:
        try:
            return self._source.read(CHUNK)
        except OSError as error:
            self._unreadable = error  # else the connection would be blamed
            raise

    async def _read_whole(self, response: httpx.Response) -> Answer:
        body, media_type = await whole(response, self._step.http.max_response)
        return Answer(self._url, response.status_code, response.headers, media_type, body)

    async def _pour(self, response: httpx.Response) -> str | None:
        """Write the body; up to `SMALL` bytes are held back until it is known to be whole."""
        held: list[bytes] = []
        size = 0
        async for piece in pieces(response):
            self._alive()
            size += len(piece)
            held.append(piece)
            if size > SMALL:
                self._poured = True
                await asyncio.to_thread(self._sink.write, b"".join(held))
                held.clear()
        self._sink.write(b"".join(held))
        media_type: str | None = response.headers.get("content-type")
        return media_type

    def _alive(self) -> None:
        if self._deadline is not None and not self._deadline.expired():
            loop = asyncio.get_running_loop()
            self._deadline.reschedule(loop.time() + self._step.settings.timeout)
