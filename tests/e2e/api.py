"""The API that the responder asks: a small HTTP/1.1 server on loopback that counts its calls.

GET  /item/<key>        JSON made from the key; 404 if the key begins with "missing"
POST /echo?name=<name>  the body, streamed back as it comes
POST /turn?name=<name>  the same with every byte turned into another, so that it can't be mistaken

While `failing`, all of them answer 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from threading import Thread
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

_TABLE = bytes((byte + 101) % 256 for byte in range(256))
_PIECE = 256 * 1024


def turned(content: bytes) -> bytes:
    """What `/turn` answers."""
    return content.translate(_TABLE)


def item(key: str) -> dict[str, object]:
    """What `/item/<key>` answers."""
    return {"key": key, "label": hashlib.sha256(key.encode()).hexdigest()[:12], "size": len(key)}


class Api:
    """Serves in a thread of its own until the `with` block ends."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self.calls: Counter[str] = Counter()
        self.times: defaultdict[str, list[float]] = defaultdict(list)  # by action, since 1970
        self.waiting = 0
        self.answered: Counter[str] = Counter()  # the same, once the answer was sent
        self.idempotency_keys: defaultdict[str, set[str]] = defaultdict(set)
        self.failing = False
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = Thread(target=self._run, name="api", daemon=True)

    def __enter__(self) -> Api:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(self._start(), self._loop)
        self.url = f"http://{self._host}:{started.result(10)}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def hold(self) -> None:
        """Let callers wait for their answers from now on."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        """Answer those who wait, and everybody who comes."""
        self._loop.call_soon_threadsafe(self._open.set)

    def _run(self) -> None:
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _start(self) -> int:
        self._open.set()
        server = await asyncio.start_server(
            self._serve, self._host, self._port, backlog=1024, limit=_PIECE
        )
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A caller that is killed in the middle is what these tests are about.
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*gone), contextlib.closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode("latin-1"), reader, writer)

    async def _answer(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = _body(reader, headers)
        action, _, key = path.lstrip("/").partition("/")
        name = unquote(key) or query.get("name", [""])[0]
        self.calls[f"{action}:{name}"] += 1
        self.times[action].append(time.time())
        self.idempotency_keys[name].add(headers.get("idempotency-key", ""))
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        if self.failing:
            await _refuse(body, writer)
        elif method == "POST":
            await _stream(body, writer, turn=action == "turn")
        else:
            await _look_up(name, body, writer)
        self.answered[f"{action}:{name}"] += 1


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return
    left = int(headers.get("content-length", 0))
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            raise ConnectionResetError
        left -= len(piece)
        yield piece


async def _stream(body: AsyncIterator[bytes], writer: asyncio.StreamWriter, *, turn: bool) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    async for piece in body:
        writer.write(b"%x\r\n" % len(piece))
        writer.write(turned(piece) if turn else piece)
        writer.write(b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _refuse(body: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for _ in body:
        continue
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def _look_up(key: str, body: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for _ in body:
        continue
    status, content = "200 OK", item(key)
    if key.startswith("missing"):
        status, content = "404 Not Found", {"detail": "no such item"}
    encoded = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(encoded)}\r\n\r\n".encode() + encoded)
    await writer.drain()
