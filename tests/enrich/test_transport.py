"""Real faults on real sockets: each gets httpx's own error class."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from roundtrip.enrich.transport import AiohttpTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: "

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def call(url: str, transport: httpx.AsyncBaseTransport, **timeout: float) -> bytes:
    request = httpx.Request("POST", url, content=b"x", extensions={"timeout": timeout})
    response = await transport.handle_async_request(request)
    try:
        return await response.aread()
    finally:
        await response.aclose()


def answers(content: bytes) -> Speak:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return speak


def resets(content: bytes = b"") -> Speak:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await asyncio.sleep(0.05)  # else the reset overtakes what was written
        sock: Any = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return speak


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"10\r\n\r\n12345")
    await writer.drain()
    await reader.read()


FAULTS: list[tuple[str, Speak, type[httpx.TransportError]]] = [
    ("closed before an answer", answers(b""), httpx.RemoteProtocolError),
    ("closed within the headers", answers(b"HTTP/1.1 200 OK\r\nCont"), httpx.RemoteProtocolError),
    ("closed within the body", answers(OK + b"10\r\n\r\n12345"), httpx.RemoteProtocolError),
    (
        "closed within a chunk",
        answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
        httpx.RemoteProtocolError,
    ),
    ("not HTTP", answers(b"220 mail ready\r\n\r\n"), httpx.RemoteProtocolError),
    ("reset before an answer", resets(), httpx.ReadError),
    ("reset within the body", resets(OK + b"10\r\n\r\n12345"), httpx.ReadError),
    ("no answer", silent, httpx.ReadTimeout),
    ("half an answer", stalls, httpx.ReadTimeout),
]


@pytest.fixture
async def transport() -> Any:
    made = AiohttpTransport()
    yield made
    await made.aclose()


@pytest.mark.parametrize(("name", "speak", "expected"), FAULTS, ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("native", [False, True], ids=["ours", "httpx"])
async def test_a_fault_has_the_class_that_httpx_gives_it(
    raw_server: Any,
    transport: AiohttpTransport,
    name: str,
    speak: Speak,
    expected: type[httpx.TransportError],
    native: bool,
) -> None:
    server = await raw_server(speak)
    url = f"http://127.0.0.1:{server.port}/"
    other = httpx.AsyncHTTPTransport() if native else transport
    # httpx bounds each read, we the whole call
    timeout = {"read": 0.3, "connect": 1, "write": 1, "pool": 1} if native else {"total": 0.3}
    with pytest.raises(httpx.TransportError) as caught:
        await call(url, other, **timeout)
    assert type(caught.value) is expected
    assert server.requests == 1
    await other.aclose()


async def test_a_refused_connection_is_a_connect_error(transport: AiohttpTransport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            await call(f"http://127.0.0.1:{free.getsockname()[1]}/", transport)


async def test_an_unknown_host_is_a_connect_error(transport: AiohttpTransport) -> None:
    with pytest.raises(httpx.ConnectError):
        await call("http://nowhere.invalid/", transport)


async def test_a_connection_that_does_not_come_about_is_a_connect_timeout(
    transport: AiohttpTransport,
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # fill the backlog: further SYNs are dropped
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        with pytest.raises(httpx.ConnectTimeout):
            await call(f"http://127.0.0.1:{full.getsockname()[1]}/", transport, connect=0.3)
        for one in waiting:
            one.close()


async def test_a_tls_call_to_a_plain_server_is_a_connect_error(
    api: Any, transport: AiohttpTransport
) -> None:
    with pytest.raises(httpx.ConnectError):
        await call(api.url.replace("http:", "https:"), transport, connect=5)


async def test_an_unusable_header_is_our_own_fault(api: Any, transport: AiohttpTransport) -> None:
    request = httpx.Request("GET", api.url, headers={"x": "a\r\nb: c"})
    with pytest.raises(httpx.LocalProtocolError):
        await transport.handle_async_request(request)
    assert api.seen == []


async def test_an_error_names_no_path_query_or_header(
    raw_server: Any, transport: AiohttpTransport
) -> None:
    for _, speak, _ in FAULTS[:7]:
        server = await raw_server(speak)
        with pytest.raises(httpx.TransportError) as caught:
            await call(f"http://127.0.0.1:{server.port}/?key=SECRET", transport)
        assert "SECRET" not in str(caught.value)


async def test_the_url_goes_out_exactly_as_it_was_encoded(api: Any) -> None:
    transport = AiohttpTransport()
    await call(f"{api.url}/a%2Fb%20%C3%BC?x=%26%3D%2B&y=%7E", transport)
    assert api.seen[0][1] == "/a%2Fb%20%C3%BC?x=%26%3D%2B&y=%7E"
    await transport.aclose()


async def test_connections_are_kept(api: Any) -> None:
    transport, peers = AiohttpTransport(), set()

    async def answer(request: Any) -> Any:
        from aiohttp import web

        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(status=404 if len(api.seen) % 2 else 200, body=b"x" * 100)

    api.answer = answer
    for _ in range(6):
        await call(api.url, transport)
    assert len(peers) == 1
    await transport.aclose()


async def test_a_redirect_is_not_followed(api: Any) -> None:
    from aiohttp import web

    async def answer(request: Any) -> Any:
        return web.Response(status=302, headers={"location": "/elsewhere", "set-cookie": "a=b"})

    api.answer = answer
    transport = AiohttpTransport()
    for _ in range(2):
        request = httpx.Request("GET", api.url)
        response = await transport.handle_async_request(request)
        assert response.status_code == 302
        await response.aclose()
    assert len(api.seen) == 2
    assert not any("Cookie" in headers for _, _, _, headers in api.seen)
    await transport.aclose()
