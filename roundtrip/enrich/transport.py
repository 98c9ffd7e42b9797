"""httpx's transport interface over aiohttp: httpx's words for errors, several times its speed.

The only module that imports aiohttp. An error's class says whether the request may have been
executed: ConnectError and ConnectTimeout mean that it was never sent, all others that it may have.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache

import aiohttp
import httpx
from yarl import URL

READ_BUFFER = 256 * 1024
KEEP = 4.0  # seconds; many servers hang up after 5, and a POST that meets that is lost
_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp must not invent them


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One pool of kept connections. No redirects, cookies, environment proxies, decompression.

    Obeys `request.extensions["timeout"]`: `connect` bounds name look-up and connection, `total`
    everything including the body, both in seconds; None or absent: no bound.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, keepalive_timeout=KEEP),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER,
                skip_auto_headers=_OURS,
                trust_env=False,
            )
            # aiohttp would silently send an idempotent request again: uncounted, perhaps paid for
            self._session._retry_connection = False
        return self._session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; the response's body is still to be read, then closed."""
        limits = request.extensions.get("timeout", {})
        with mapped():
            answer = await self._open().request(
                request.method,
                _url(str(request.url)),
                headers=_headers(request),
                data=_content(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=limits.get("total"), connect=limits.get("connect")
                ),
            )
        return httpx.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=_Body(answer),
            extensions={"reason_phrase": (answer.reason or "").encode("latin-1", "replace")},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


@lru_cache(maxsize=64)  # Many steps call one address again and again.
def _url(text: str) -> URL:
    return URL(text, encoded=True)


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with mapped():
            async for chunk in self._answer.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        # drops a connection with bytes still to come; after the last it has gone back already
        self._answer.close()


@contextmanager
def mapped() -> Iterator[None]:
    """Raise httpx's error for aiohttp's, as httpx's own transport would."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise translate(error) from error


def translate(error: Exception) -> httpx.TransportError:
    """The httpx error that says what aiohttp's means. Its text holds no URL, header or body."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout("no connection in time")
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout("no complete answer in time")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerFingerprintMismatch):
        return httpx.ConnectError(_reason(error))
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return httpx.UnsupportedProtocol("not a URL that can be called")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError):
        return httpx.RemoteProtocolError("the server closed the connection or broke HTTP")
    if isinstance(error, aiohttp.ClientPayloadError) and not _was_reset(error):
        return httpx.RemoteProtocolError("the server closed the connection within its answer")
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return httpx.WriteError("the server closed the connection while the request was sent")
    if isinstance(error, aiohttp.ClientError | OSError):
        return httpx.ReadError("the connection broke")
    return httpx.LocalProtocolError("the request can't be written as HTTP")


def _was_reset(error: aiohttp.ClientPayloadError) -> bool:
    # aiohttp keeps the connection's own error only in the text
    return isinstance(error.__cause__, OSError) or "ConnectionResetError" in str(error)


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode()) for name, value in request.headers.raw]


def _content(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    try:
        return request.content or None
    except httpx.RequestNotRead:
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("a streamed body must be asynchronous") from None
        return stream
