"""Format raw: the whole payload is a request's body, and the answer's body is the result.

Small bodies take the short way, in one piece and on the loop; large ones are streamed, their files
read and written in threads, so memory stays constant and the loop free.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import BinaryIO, cast

import httpx

from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.results import Stats
from roundtrip.enrich.retry import persist
from roundtrip.enrich.steps.http import Http, chunks

SMALL = 1024 * 1024  # bytes
CHUNK = 1024 * 1024


async def pass_through(
    steps: list[Http], name: str, source: BinaryIO, sink: BinaryIO, stats: Stats
) -> str | None:
    """Send `source` through all steps, the last answer into `sink`; its media type.

    Raises PayloadFault: there is no record that an error could be written into.
    """
    stats.records = 1
    try:
        for step in steps[:-1]:
            between = tempfile.SpooledTemporaryFile(max_size=SMALL)  # noqa: SIM115
            await Exchange(step, name, source, cast("BinaryIO", between), stats).run()
            source = cast("BinaryIO", between)
        media_type = await Exchange(steps[-1], name, source, sink, stats).run()
    except RecordFault as fault:
        raise PayloadFault(fault.title, fault.detail, status=fault.status) from None
    stats.ok = 1
    return media_type


class Exchange:
    """One step's call with a whole payload. `sink` is only appended to.

    A call is tried again as long as nothing of its answer has gone into the sink.
    """

    def __init__(
        self, step: Http, name: str, source: BinaryIO, sink: BinaryIO, stats: Stats
    ) -> None:
        self._step = step
        self._source = source
        self._sink = sink
        self._stats = stats
        self._fields = {"name": name}
        self._poured = False
        self._unreadable: OSError | None = None
        self._size = source.seek(0, 2)
        self._deadline: asyncio.Timeout | None = None

    async def run(self) -> str | None:
        """Make the call; the answer's media type. Raises RecordFault."""
        return await persist(self._attempt, self._step.settings.retry, self._step.sleep)

    async def _attempt(self) -> str | None:
        step = self._step
        request = self._request()
        async with step.limits:
            self._stats.calls += 1
            try:
                # `timeout` bounds the silence, not the whole: a large payload takes its time
                async with asyncio.timeout(step.settings.timeout) as self._deadline:
                    return await self._answered(request)
            except TimeoutError:
                error: Exception = httpx.ReadTimeout("no answer in time")
            except (httpx.TransportError, httpx.DecodingError) as broken:
                error = broken
            finally:
                self._deadline = None
        if self._unreadable is not None:
            raise self._unreadable
        failure = step.broken(error)
        if self._poured and not isinstance(failure, RecordFault):
            raise failure.fault
        raise failure

    def _request(self) -> httpx.Request:
        step = self._step
        make = step.template_content
        headers = step.raw_headers(self._fields)
        content: bytes | AsyncIterator[bytes] | None
        if make is not None:
            content = make(self._fields)
        elif self._size <= SMALL:
            self._source.seek(0)
            content = self._source.read()
        else:
            content = self._pieces()
            headers = headers.copy()
            headers["content-length"] = str(self._size)
        return httpx.Request(
            step.method,
            step.url(self._fields),
            headers=headers,
            content=content,
            extensions=step.connect_patience,
        )

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

    async def _answered(self, request: httpx.Request) -> str | None:
        response = await self._step.transport.handle_async_request(request)
        try:
            await self._step.judge(response)
            await self._pour(response)
            media_type: str | None = response.headers.get("content-type")
            return media_type
        finally:
            await response.aclose()

    async def _pour(self, response: httpx.Response) -> None:
        """Write the body; up to `SMALL` bytes are held back until it is known to be whole."""
        held: list[bytes] = []
        size = 0
        async for piece in chunks(response):
            self._alive()
            size += len(piece)
            held.append(piece)
            if size > SMALL:
                self._poured = True
                await asyncio.to_thread(self._sink.write, b"".join(held))
                held.clear()
        self._sink.write(b"".join(held))

    def _alive(self) -> None:
        if self._deadline is not None and not self._deadline.expired():
            loop = asyncio.get_running_loop()
            self._deadline.reschedule(loop.time() + self._step.settings.timeout)
