"""A real API on loopback that misbehaves when told, and short ways to run a pipeline on it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import Enricher, Pipeline, Result
from tests.enrich import processes
from tests.enrich.steps import http_step

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _children_of_others() -> None:
    processes.note()


@dataclass
class Api:
    """The server: `answer` decides what each request gets; `seen` has what came."""

    url: str = ""
    seen: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)
    answer: Handler | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)  # what a silent handler waits for

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append((request.method, request.raw_path, body, dict(request.headers)))
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"path": request.path, "location": {"city": "Köln"}})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    found = Api()
    server = web.Application(client_max_size=2**31)
    server.router.add_route("*", "/{rest:.*}", found.handle)
    runner = web.AppRunner(server, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    yield found
    found.over.set()
    await runner.cleanup()


class Pauses:
    """Stands for asyncio.sleep between attempts: notes the seconds and goes on at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@dataclass
class Engine:
    """An Enricher and what it needs in most tests."""

    pauses: Pauses
    enricher: Enricher

    async def run(
        self, pipeline: Pipeline, name: str, payload: bytes, **more: Any
    ) -> tuple[Result, bytes]:
        sink = io.BytesIO()
        result = await self.enricher.run(pipeline, name, io.BytesIO(payload), sink, **more)
        return result, sink.getvalue()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    pauses = Pauses()
    made = Engine(pauses, Enricher([], sleep=pauses))
    yield made
    await made.enricher.aclose()


@pytest.fixture
def one_step(api: Api) -> Callable[..., Pipeline]:
    """Makes a pipeline of one step named geo: `one_step("/ip/{ip}", format="csv", ...)`."""

    def make(path: str, *, format: str = "auto", **settings: Any) -> Pipeline:
        step = http_step("geo", api.url + path, **settings)
        return Pipeline("test", (step,), format=format)

    return make


@dataclass
class RawServer:
    """A server of plain sockets for what no HTTP library would send."""

    port: int = 0
    requests: int = 0


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., Awaitable[RawServer]]]:
    """Starts a server: `await raw_server(speak)`; `speak(reader, writer)` follows each request."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[None]] = set()

    async def start(
        speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> RawServer:
        found = RawServer()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await reader.readuntil(b"\r\n\r\n")
                found.requests += 1
                await speak(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        found.port = server.sockets[0].getsockname()[1]
        return found

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
