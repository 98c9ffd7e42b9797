"""A large file never makes a small one wait: shown by the order in which calls are sent."""

from __future__ import annotations

import asyncio
import io
from random import Random
from typing import Any

import httpx
import pytest

from roundtrip.enrich import Enricher, Pipeline
from roundtrip.enrich.settings import Rate
from tests.enrich.steps import http_step

LARGE = b"".join(b'{"ip": %d}\n' % number for number in range(1_000_000))
FEW = 3
"""Calls of the large file that may still go before the small one's."""


class Slow(httpx.AsyncBaseTransport):
    """Notes what is sent, in order, and answers a moment later."""

    def __init__(self, enough: int) -> None:
        self.sent: list[str] = []
        self.busy = asyncio.Event()
        self._enough = enough
        self._random = Random(7)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.url.path)
        if len(self.sent) > self._enough:
            self.busy.set()
        # The large file always has calls waiting; answers come one by one, as from a real API, and
        # not all at the same moment.
        await asyncio.sleep(self._random.uniform(0.005, 0.02))
        return httpx.Response(200, json=1)


class Noted(io.BytesIO):
    """A file of one record; notes how many calls had been sent when it was read."""

    before = 0

    def __init__(self, api: Slow) -> None:
        super().__init__(b'{"ip": "small"}\n')
        self._api = api

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.before = len(self._api.sent) if line else self.before
        return line


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 1},
        {"concurrency": 20},
        {"concurrency": 20, "rate": Rate(100, 1.0)},
    ],
    ids=str,
)
async def test_a_file_of_a_million_records_delays_one_of_one_record_by_a_few_calls(
    limits: dict[str, Any],
) -> None:
    api = Slow(limits["concurrency"] + 40)
    enricher = Enricher([], transport=api)
    pipeline = Pipeline("p", (http_step("geo", "http://192.0.2.1/{ip}", **limits),))

    async def run(name: str, payload: io.BytesIO) -> None:
        await enricher.run(pipeline, name, payload, io.BytesIO())

    large = asyncio.create_task(run("large.jsonl", io.BytesIO(LARGE)))
    await api.busy.wait()
    small = Noted(api)
    await run("small.jsonl", small)
    between = api.sent.index("/small") - small.before
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    await enricher.aclose()
    assert between <= FEW
