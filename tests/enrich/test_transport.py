"""Real faults on real sockets: each gets httpx's own error class."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from roundtrip.enrich.egress import Guard, Refused
from roundtrip.enrich.settings import HostSettings, Pipeline
from roundtrip.enrich.transport import AiohttpTransport
from tests.enrich.steps import http_step

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


Made = Callable[..., AiohttpTransport]


@pytest.fixture
async def calling() -> AsyncIterator[Made]:
    """Makes a transport that may call the hosts of these URLs: `calling(url, host=settings)`."""
    made: list[AiohttpTransport] = []

    def make(*urls: str, **hosts: HostSettings) -> AiohttpTransport:
        steps = tuple(http_step(f"s{number}", url) for number, url in enumerate(urls))
        by_name = {settings.name: settings for settings in hosts.values()}
        made.append(AiohttpTransport(Guard([Pipeline("p", steps)], by_name)))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()


@pytest.mark.parametrize(("name", "speak", "expected"), FAULTS, ids=[f[0] for f in FAULTS])
@pytest.mark.parametrize("native", [False, True], ids=["ours", "httpx"])
async def test_a_fault_has_the_class_that_httpx_gives_it(
    raw_server: Any,
    calling: Made,
    name: str,
    speak: Speak,
    expected: type[httpx.TransportError],
    native: bool,
) -> None:
    server = await raw_server(speak)
    url = f"http://127.0.0.1:{server.port}/"
    other = httpx.AsyncHTTPTransport() if native else calling(url)
    # httpx bounds each read, we the whole call
    timeout = {"read": 0.3, "connect": 1, "write": 1, "pool": 1} if native else {"total": 0.3}
    with pytest.raises(httpx.TransportError) as caught:
        await call(url, other, **timeout)
    assert type(caught.value) is expected
    assert server.requests == 1
    await other.aclose()


async def test_a_refused_connection_is_a_connect_error(calling: Made) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(httpx.ConnectError, match="refused"):
            await call(url, calling(url))


async def test_an_unknown_host_is_a_connect_error(calling: Made) -> None:
    with pytest.raises(httpx.ConnectError, match="its name can't be resolved"):
        await call("http://nowhere.invalid/", calling("http://nowhere.invalid/"))


async def test_a_connection_that_does_not_come_about_is_a_connect_timeout(
    calling: Made,
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
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        with pytest.raises(httpx.ConnectTimeout):
            await call(url, calling(url), connect=0.3)
        for one in waiting:
            one.close()


async def test_a_tls_call_to_a_plain_server_is_a_connect_error(api: Any, calling: Made) -> None:
    url = api.url.replace("http:", "https:")
    with pytest.raises(httpx.ConnectError, match="TLS failed"):
        await call(url, calling(url), connect=5)


async def test_an_unusable_header_is_our_own_fault(api: Any, calling: Made) -> None:
    request = httpx.Request("GET", api.url, headers={"x": "a\r\nb: c"})
    with pytest.raises(httpx.LocalProtocolError):
        await calling(api.url).handle_async_request(request)
    assert api.seen == []


async def test_an_error_names_no_path_query_or_header(raw_server: Any, calling: Made) -> None:
    for _, speak, _ in FAULTS[:7]:
        server = await raw_server(speak)
        with pytest.raises(httpx.TransportError) as caught:
            url = f"http://127.0.0.1:{server.port}/?key=SECRET"
            await call(url, calling(url))
        assert "SECRET" not in str(caught.value)


async def test_the_url_goes_out_exactly_as_it_was_encoded(api: Any, calling: Made) -> None:
    await call(f"{api.url}/a%2Fb%20%C3%BC?x=%26%3D%2B&y=%7E", calling(api.url))
    assert api.seen[0][1] == "/a%2Fb%20%C3%BC?x=%26%3D%2B&y=%7E"


async def test_connections_are_kept(api: Any, calling: Made) -> None:
    transport, peers = calling(api.url), set()

    async def answer(request: Any) -> Any:
        from aiohttp import web

        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(status=404 if len(api.seen) % 2 else 200, body=b"x" * 100)

    api.answer = answer
    for _ in range(6):
        await call(api.url, transport)
    assert len(peers) == 1


async def test_no_redirect_is_followed_and_no_cookie_kept_here(api: Any, calling: Made) -> None:
    from aiohttp import web

    async def answer(request: Any) -> Any:
        return web.Response(status=302, headers={"location": "/elsewhere", "set-cookie": "a=b"})

    api.answer = answer
    transport = calling(api.url)
    for _ in range(2):
        request = httpx.Request("GET", api.url)
        response = await transport.handle_async_request(request)
        assert response.status_code == 302
        await response.aclose()
    assert len(api.seen) == 2
    assert not any("Cookie" in headers for _, _, _, headers in api.seen)


async def test_two_thousand_calls_are_in_flight_after_one_look_up(
    raw_server: Any, calling: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = 2000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * wanted + 500:
        pytest.skip("needs more open files than this shell may have")
    all_there, looked_up = asyncio.Event(), []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.requests == wanted:
            all_there.set()
        await all_there.wait()  # nobody is answered before all have asked
        writer.write(OK + b"2\r\n\r\nok")
        await writer.drain()

    def getaddrinfo(host: Any, port: int, *_: Any, **__: Any) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    server = await raw_server(speak)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = f"http://api.example:{server.port}/"
    transport = calling(url, api=HostSettings("api.example", private=True))
    found = await asyncio.gather(*[call(url, transport) for _ in range(wanted)])
    assert found == [b"ok"] * wanted
    assert len(looked_up) == 1


async def test_too_many_open_files_are_named_as_such(api: Any, calling: Made) -> None:
    transport = calling(api.url)
    await call(api.url, transport)  # all that is opened once is open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, hard))
        try:
            found = await asyncio.gather(
                *[call(api.url, transport) for _ in range(60)], return_exceptions=True
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    errors = [each for each in found if isinstance(each, BaseException)]
    assert errors
    assert {type(each) for each in errors} == {httpx.ConnectError}
    assert "too many files open; raise its limit (ulimit -n)" in str(errors[0])


CA = trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the authority's certificate, a client's, and that client's encrypted key."""
    CA.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = CA.issue_cert("client@example.org")
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "mine.pem"))
    mine.private_key_pem.write_to_path(str(tmp_path / "mine.key"))
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "encrypted.key").write_bytes(encrypted)
    return tmp_path


def host(files: Path, name: str = "127.0.0.1", **names: str) -> HostSettings:
    """Settings with files of this folder: `host(files, cert="mine.pem")`."""
    paths: dict[str, Any] = {
        key: str(files / name) for key, name in {"ca": "ca.pem", **names}.items()
    }
    return HostSettings(name, private=True, **paths)


@pytest.fixture
async def tls_server() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts a TLS server that answers each request: `await tls_server(asks=True)`; its URL."""
    servers: list[asyncio.Server] = []

    async def start(*, name: str = "127.0.0.1", asks: bool = False) -> str:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CA.issue_cert(name).configure_cert(tls)
        if asks:
            tls.verify_mode = ssl.CERT_REQUIRED
            CA.configure_trust(tls)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                shown = writer.get_extra_info("peercert") or {}
                who = str(dict(shown).get("subjectAltName", "")).encode()
                secret = b"leaked" if b"proxy-auth" in head.lower() else b"kept"
                body = who + secret
                writer.write(OK + b"%d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls))
        return f"https://{name}:{servers[-1].sockets[0].getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()


async def test_a_host_gets_the_certificate_that_is_meant_for_it(
    tls_server: Any, calling: Made, files: Path
) -> None:
    url = await tls_server(asks=True)
    mine = host(files, cert="mine.pem", key="mine.key")
    assert b"client@example.org" in await call(url, calling(url, host=mine))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_is_missing_means_no_connection(
    calling: Made, files: Path, version: ssl.TLSVersion
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.maximum_version = version
    tls.verify_mode = ssl.CERT_REQUIRED
    CA.issue_cert("127.0.0.1").configure_cert(tls)
    CA.configure_trust(tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A handshake by hand: asyncio's own server resets, and so its alert may be lost."""
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        connection = tls.wrap_bio(coming, going, server_side=True)
        while data := await reader.read(65536):
            coming.write(data)
            try:
                connection.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                writer.write(going.read())
                writer.write_eof()
            writer.write(going.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(httpx.ConnectError, match="wants one"):
        await call(url, calling(url, host=host(files)))
    server.close()


async def test_the_files_of_a_host_are_read_once_for_all_its_ports(
    tls_server: Any, calling: Made, files: Path
) -> None:
    one, other = await tls_server(asks=True), await tls_server(asks=True)
    transport = calling(one, other, host=host(files, cert="mine.pem", key="mine.key"))
    await call(one, transport)
    for path in files.iterdir():
        path.unlink()
    assert b"kept" in await call(one, transport)
    assert b"kept" in await call(other, transport)


async def test_another_hosts_authority_is_not_trusted(
    tls_server: Any, calling: Made, files: Path
) -> None:
    url = await tls_server()
    with pytest.raises(httpx.ConnectError, match="certificate can't be trusted"):
        await call(url, calling(url, host=host(files, name="other.example")))


BAD_FILES = [
    ({"ca": "missing.pem"}, "ca: No such file or directory"),
    ({"ca": "mine.key"}, "ca: not a PEM file that can be used"),
    ({"cert": "missing.pem"}, "cert, key: No such file or directory"),
    ({"cert": "mine.pem", "key": "encrypted.key"}, "or its key is encrypted"),
    ({"cert": "mine.pem", "key": "ca.pem"}, "cert, key: not a PEM file that can be used"),
    ({"key": "mine.key"}, "key needs cert"),
]


@pytest.mark.parametrize(("names", "says"), BAD_FILES, ids=[says for _, says in BAD_FILES])
async def test_a_file_that_can_not_be_used_is_named(
    api: Any, calling: Made, files: Path, names: dict[str, str], says: str
) -> None:
    url = api.url.replace("http:", "https:")
    with pytest.raises(Refused) as caught:
        await call(url, calling(url, host=host(files, **names)))
    assert says in str(caught.value)
    assert api.seen == []


@pytest.fixture
async def proxy() -> AsyncIterator[Any]:
    """A proxy that tunnels CONNECT to this machine, whatever the name, and answers the rest."""

    class Proxy:
        heads: list[bytes] = []  # noqa: RUF012
        status = b"200 OK"
        port = 0

    found = Proxy()
    tasks: set[Any] = set()
    found.heads = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        found.heads.append(head)
        writer.write(b"HTTP/1.1 " + found.status + b"\r\n")
        if not head.startswith(b"CONNECT") or found.status[:3] != b"200":
            writer.write(b"Content-Length: 9\r\n\r\nby proxy.")
            writer.close()
            return
        writer.write(b"\r\n")
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def by(proxy: Any, files: Path, name: str) -> HostSettings:
    """Settings of a host that is reached by the proxy, and only by it."""
    there = f"http://user:SECRET@localhost:{proxy.port}"
    return HostSettings(name, proxy=there, ca=str(files / "ca.pem"))


async def test_https_goes_through_a_proxy_unresolved_and_verified(
    tls_server: Any, proxy: Any, calling: Made, files: Path
) -> None:
    url = await tls_server(name="api.invalid")  # a name that can't be resolved here
    transport = calling(url, host=by(proxy, files, "api.invalid"))
    assert await call(url, transport) == b"kept"  # the proxy's password stays with the proxy
    port = url.rstrip("/").rpartition(":")[2].encode()
    assert proxy.heads[0].startswith(b"CONNECT api.invalid:" + port)
    assert b"Proxy-Authorization: Basic dXNlcjpTRUNSRVQ=" in proxy.heads[0]


async def test_a_wrong_certificate_behind_a_proxy_is_not_believed(
    tls_server: Any, proxy: Any, calling: Made, files: Path
) -> None:
    url = (await tls_server(name="other.invalid")).replace("other", "api")
    with pytest.raises(httpx.ConnectError, match="certificate can't be trusted"):
        await call(url, calling(url, host=by(proxy, files, "api.invalid")))


async def test_plain_http_goes_through_a_proxy(proxy: Any, calling: Made, files: Path) -> None:
    url = "http://api.invalid/path?x=1"
    assert await call(url, calling(url, host=by(proxy, files, "api.invalid"))) == b"by proxy."
    assert proxy.heads[0].startswith(b"POST http://api.invalid/path?x=1 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpTRUNSRVQ=" in proxy.heads[0]


async def test_a_proxy_opens_no_way_to_other_hosts(proxy: Any, calling: Made, files: Path) -> None:
    transport = calling("http://api.invalid/", host=by(proxy, files, "api.invalid"))
    with pytest.raises(Refused):
        await call("http://evil.invalid/", transport)
    assert proxy.heads == []


async def test_a_proxy_that_refuses_means_no_connection(
    proxy: Any, calling: Made, files: Path
) -> None:
    proxy.status = b"407 Proxy Authentication Required"
    url = "https://api.invalid/"
    with pytest.raises(httpx.ConnectError, match="the proxy answered 407") as caught:
        await call(url, calling(url, host=by(proxy, files, "api.invalid")))
    assert "SECRET" not in str(caught.value)


async def test_a_proxy_that_is_not_there_means_no_connection(calling: Made) -> None:
    url = "https://api.invalid/"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        there = f"http://user:SECRET@127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(httpx.ConnectError, match="no connection to the proxy") as caught:
            await call(url, calling(url, host=HostSettings("api.invalid", proxy=there)))
    assert "SECRET" not in str(caught.value)
