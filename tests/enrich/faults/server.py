"""The fault server: real sockets on loopback, and HTTP as it should not be.

Each fault is an async function of a `Link`, one connection that has come. It reads requests when it
likes, sends bytes, and ends the connection in its own way.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache

JSON = b"Content-Type: application/json\r\n"
BOMB_BYTES = 10 * 1024**3  # what the bomb decodes to


@dataclass
class Link:
    """One connection."""

    server: FaultServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The next request's head; its body is read, too. b"" when the client has gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line.partition(b":")[2]))
        self.server.requests.append(head)
        return head

    async def send(self, *parts: bytes) -> None:
        """Write the parts one after the other, each on its way before the next."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def reset(self) -> None:
        """End with RST instead of FIN."""
        await asyncio.sleep(0.05)  # else it overtakes what was sent
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def gone(self) -> None:
        """Until the client closes."""
        while await self.reader.read(65536):
            pass


Fault = Callable[[Link], Awaitable[None]]


@dataclass
class FaultServer:
    """One listening socket that answers with one fault. `requests`: heads of those read whole."""

    fault: Fault
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self.tls, limit=2**20
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.fault(Link(self, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client has had enough
        finally:
            self._tasks.discard(task)
            writer.close()


def answers(*parts: bytes) -> Fault:
    """Read a request, send the parts, close."""

    async def fault(link: Link) -> None:
        if await link.request():
            await link.send(*parts)

    return fault


def ok(body: bytes, *headers: bytes) -> bytes:
    """A whole answer with this body."""
    return answer(b"200 OK", body, *headers)


def answer(status: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    """A whole answer: status line, headers, Content-Length, body."""
    lines = b"".join(header + b"\r\n" for header in headers)
    length = b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + JSON + lines + length + b"\r\n" + body


async def resets_first(link: Link) -> None:
    """RST before anything is read."""
    await link.reset()


async def resets_after(link: Link) -> None:
    """RST once the request has come."""
    await link.request()
    await link.reset()


async def resets_within(link: Link) -> None:
    """Half an answer, then RST."""
    await link.request()
    await link.send(ok(b'{"city": "somewhere"}')[:-10])
    await link.reset()


async def endless(link: Link) -> None:
    """An answer that never ends."""
    await link.request()
    await link.send(b"HTTP/1.1 200 OK\r\n" + JSON + b"\r\n[")
    while not link.writer.is_closing():
        await link.send(b"1," * 32768)


async def endless_headers(link: Link) -> None:
    """Headers that never end."""
    await link.request()
    await link.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while not link.writer.is_closing():
        await link.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))
        number += 1


async def endless_informational(link: Link) -> None:
    """103 Early Hints for ever."""
    await link.request()
    while not link.writer.is_closing():
        await link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await asyncio.sleep(0.01)


async def drips(link: Link) -> None:
    """A byte now and then: each read succeeds, the whole never comes."""
    await link.request()
    await link.send(ok(b" " * 100000)[:-100000])
    while not link.writer.is_closing():
        await link.send(b" ")
        await asyncio.sleep(0.02)


async def silent(link: Link) -> None:
    """A request is read, and nothing said."""
    await link.request()
    await link.gone()


async def redirects_in_a_loop(link: Link) -> None:
    """Every address leads to the next one."""
    while await link.request():
        location = b"Location: /%d" % len(link.server.requests)
        await link.send(answer(b"302 Found", b"", location))


def fails_first(status: bytes, *headers: bytes) -> Fault:
    """This status for the first request, a good answer for those that follow."""

    async def fault(link: Link) -> None:
        while await link.request():
            first = len(link.server.requests) == 1
            await link.send(answer(status, b"{}", *headers) if first else ok(b'{"city": "Bonn"}'))

    return fault


@lru_cache
def compressed_zeros(deflate: bool, levels: int) -> bytes:
    """About 10 MB that decode to `BOMB_BYTES`, again compressed for each further level."""
    bits = zlib.MAX_WBITS | (0 if deflate else 16)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, bits)
    unit = 16 * 1024 * 1024
    begun = squeezer.compress(bytes(unit)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    # after a full flush nothing refers back, so the same bytes again mean the same zeros again
    again = squeezer.compress(bytes(unit)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    whole = begun + again * (BOMB_BYTES // unit - 1)
    for _ in range(levels - 1):
        whole = gzip.compress(whole, mtime=0)
    return whole


def bomb(codings: bytes, levels: int) -> Fault:
    """10 GiB of zeros, compressed once or several times over."""

    async def fault(link: Link) -> None:
        await link.request()
        encoding = b"Content-Encoding: " + codings + b"\r\n"
        await link.send(b"HTTP/1.1 200 OK\r\n" + JSON + encoding + b"\r\n")
        body = compressed_zeros(codings == b"deflate", levels)
        for start in range(0, len(body), 65536):
            await link.send(body[start : start + 65536])

    return fault


def packed(body: bytes, cut: int | None = None) -> bytes:
    """A gzip answer, cut off after `cut` bytes of its body though its length says otherwise not."""
    return ok(gzip.compress(body, mtime=0)[:cut], b"Content-Encoding: gzip")
