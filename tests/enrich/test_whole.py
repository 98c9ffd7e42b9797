"""Format raw: the file goes out as it is, and the answer comes back as it is."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import PayloadFault, Pipeline, Retry
from tests.enrich.steps import http_step

BIG = 8 * 1024 * 1024


async def reversed_body(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=body[::-1], content_type="image/png")


@pytest.mark.parametrize("size", [0, 1, 2048, 1024 * 1024, 1024 * 1024 + 1, BIG])
async def test_a_file_goes_out_and_the_answer_comes_back_bit_for_bit(
    api: Any, engine: Any, one_step: Any, size: int
) -> None:
    api.answer = reversed_body
    payload = os.urandom(size)
    pipeline = one_step("/x/{name}", method="POST", format="raw")
    result, out = await engine.run(pipeline, "my file.bin", payload)
    assert out == payload[::-1]
    ((method, path, body, headers),) = api.seen
    assert (method, path, body == payload) == ("POST", "/x/my%20file.bin", True)
    assert headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in headers
    assert (result.outcome, result.media_type) == ("enriched", "image/png")
    assert (result.stats.records, result.stats.ok, result.stats.calls) == (1, 1, 1)


async def test_several_steps_hand_the_file_on(api: Any, engine: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read() + request.path.encode())

    api.answer = answer
    steps = tuple(http_step(n, f"{api.url}/{n}", method="PUT") for n in "abc")
    payload = os.urandom(BIG)
    _, out = await engine.run(Pipeline("p", steps, format="raw"), "x", payload)
    assert out == payload + b"/a/b/c"


@pytest.mark.parametrize("size", [10, BIG])
async def test_a_busy_api_gets_the_whole_file_again(
    api: Any, engine: Any, one_step: Any, size: int
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if len(api.seen) < 3:
            return web.Response(status=503, headers={"Retry-After": "2"})
        return await reversed_body(request)

    api.answer = answer
    payload = os.urandom(size)
    result, out = await engine.run(one_step("/", method="POST", format="raw"), "x", payload)
    assert out == payload[::-1]
    assert engine.pauses.seconds == [2.0, 2.0]
    assert result.stats.calls == 3


async def test_a_refusal_fails_the_payload_with_its_status(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=422, text="SECRET")

    api.answer = answer
    with pytest.raises(PayloadFault, match="422 Unprocessable") as caught:
        await engine.run(one_step("/?k=SECRET", method="POST", format="raw"), "x", b"x")
    assert caught.value.status == 422
    assert "SECRET" not in str(caught.value)


def cut_after(size: int, head: bytes = b"") -> Any:
    async def speak(reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * size)
        await writer.drain()

    return speak


@pytest.mark.parametrize(
    ("method", "size", "requests"),
    [("PUT", 1000, 3), ("PUT", 4_000_000, 1), ("POST", 1000, 1)],
)
async def test_half_an_answer_is_never_taken_for_a_whole_one(
    raw_server: Any, engine: Any, method: str, size: int, requests: int
) -> None:
    server = await raw_server(cut_after(size))
    step = http_step("s", f"http://127.0.0.1:{server.port}/", method=method, retry=Retry(3))
    with pytest.raises(PayloadFault, match="Connection lost"):
        await engine.run(Pipeline("p", (step,), format="raw"), "x", b"x")
    assert server.requests == requests


async def test_a_silent_api_is_given_up_but_a_slow_transfer_is_not(
    raw_server: Any, engine: Any
) -> None:
    async def drip(reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            writer.write(b"x")
            await writer.drain()

    async def silent(reader: Any, writer: Any) -> None:
        await reader.read()

    def pipeline(port: int) -> Pipeline:
        step = http_step("s", f"http://127.0.0.1:{port}/", method="POST", timeout=0.5)
        return Pipeline("p", (step,), format="raw")

    slow, dead = await raw_server(drip), await raw_server(silent)
    _, out = await engine.run(pipeline(slow.port), "x", b"x")
    assert out == b"x" * 10
    with pytest.raises(PayloadFault, match="No answer in time"):
        await engine.run(pipeline(dead.port), "x", b"x")
    with pytest.raises(PayloadFault, match="No answer in time"):  # it never reads the upload
        await engine.run(pipeline(dead.port), "x", b"x" * BIG * 4)


async def test_a_payload_that_can_not_be_read_is_not_blamed_on_the_api(
    api: Any, engine: Any, one_step: Any
) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    pipeline = one_step("/", method="POST", format="raw")
    with pytest.raises(OSError, match="Input/output error"):
        await engine.enricher.run(pipeline, "x", Broken(bytes(BIG)), io.BytesIO())


async def test_a_large_file_takes_constant_memory(
    raw_server: Any, engine: Any, tmp_path: Path
) -> None:
    size = 256 * 1024 * 1024

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = size
        while left:
            left -= len(await reader.read(256 * 1024))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 1024 // 1024):
            writer.write(bytes(1024 * 1024))
            await writer.drain()

    server = await raw_server(echo)
    step = http_step("s", f"http://127.0.0.1:{server.port}/", method="POST")
    source, target = tmp_path / "in", tmp_path / "out"
    with open(source, "wb") as sparse:
        sparse.truncate(size)
    before = resident()
    with open(source, "rb") as reading, open(target, "wb") as writing:
        pipeline = Pipeline("p", (step,), format="raw")
        most = asyncio.create_task(highest())
        await engine.enricher.run(pipeline, "x", reading, writing)
        most.cancel()
    assert target.stat().st_size == size
    with open(target, "rb") as made:
        assert hashlib.file_digest(made, "md5").digest() == hashlib.md5(bytes(size)).digest()
    assert PEAK[0] - before < 60 * 1024 * 1024


PEAK = [0]


def resident() -> int:
    """This process's resident memory in bytes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def highest() -> None:
    PEAK[0] = 0
    while True:
        PEAK[0] = max(PEAK[0], resident())
        await asyncio.sleep(0.02)


async def test_a_call_that_is_sent_when_its_payload_ends_is_not_made_again(
    api: Any, engine: Any, one_step: Any
) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return await reversed_body(request)

    api.answer = answer
    pipeline = one_step("/", format="raw", method="POST")
    first = asyncio.create_task(engine.run(pipeline, "a", b"abc", exchange="X"))
    await arrived.wait()
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    result, out = await engine.run(pipeline, "a", b"abc", exchange="X")
    assert (out, result.stats.calls, len(api.seen)) == (b"cba", 0, 1)
