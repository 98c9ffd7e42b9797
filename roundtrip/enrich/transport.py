"""httpx's transport interface over aiohttp: httpx's words for errors, several times its speed.

The only module that imports aiohttp. An error's class says whether the request may have been
executed: ConnectError and ConnectTimeout mean that it was never sent, all others that it may have.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
import httpx
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from roundtrip.enrich.egress import Guard, Place, Refused, not_public, place, plain
from roundtrip.enrich.settings import HostSettings
from roundtrip.enrich.tls import context

READ_BUFFER = 256 * 1024
MAX_HEADERS = 128  # of one answer
MAX_LINE = 8190  # bytes of one header, and of the status line
KEEP = 4.0  # seconds; many servers hang up after 5, and a POST that meets that is lost
_REJECTED = re.compile(r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)")
CERTIFICATE_WANTED = "it does not accept our certificate, or wants one (cert and key in hosts)"
_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp must not invent them


@dataclass(frozen=True, slots=True)
class _Route:
    """How a host is reached."""

    tls: ssl.SSLContext | bool  # True: the system's trust; False would mean no check, and never is
    proxy: URL | None = None


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One pool of kept connections. No redirects, cookies, environment proxies, decompression.

    Obeys `request.extensions["timeout"]`: `connect` bounds name look-up and connection, `total`
    everything including the body, both in seconds; None or absent: no bound. Calls only what
    `guard` allows, and raises its Refused otherwise.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[HostSettings, ssl.SSLContext | None] = {}
        self._routes: dict[tuple[str, str | None, int | None], _Route] = {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    ttl_dns_cache=60,
                    keepalive_timeout=KEEP,
                    resolver=GuardedResolver(self._guard),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=READ_BUFFER,
                max_headers=MAX_HEADERS,
                max_line_size=MAX_LINE,
                max_field_size=MAX_LINE,
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
            url = _url(str(request.url))
            route = self._route(url)
            answer = await self._open().request(
                request.method,
                url,
                headers=_headers(request),
                data=_content(request),
                allow_redirects=False,
                ssl=route.tls,
                proxy=route.proxy,
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

    def _route(self, url: URL) -> _Route:
        """How to reach the host of this very URL; Refused when it may not be called."""
        spelled = (url.scheme, url.raw_host, url.port)
        known = self._routes.get(spelled)
        if known is None:
            where = place(url)
            self._guard.check(where)
            known = self._made(self._guard.settings(where))
            if url.raw_host == where.host:  # a host has any number of other spellings
                self._routes[spelled] = known
        return known

    def _made(self, settings: HostSettings | None) -> _Route:
        if settings is None:
            return _Route(True)
        if settings not in self._contexts:
            self._contexts[settings] = context(settings)
        proxy = URL(settings.proxy) if settings.proxy else None
        return _Route(self._contexts[settings] or True, proxy)


class GuardedResolver(ThreadedResolver):
    """The system's resolver, without addresses that the guard forbids.

    The connection is made to an address that this returned: what a name means a moment later
    doesn't matter.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses; Refused when there is none among those that the name has."""
        found = await super().resolve(host, port, family)
        where = Place(plain(host), port)
        sorts = [self._guard.forbidden(where, each["host"]) for each in found]
        allowed = [each for each, sort in zip(found, sorts, strict=True) if sort is None]
        if not allowed and sorts and sorts[0]:
            raise Refused(not_public(where, sorts[0]))
        return allowed


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
    never_sent = _unconnected(error)
    if never_sent is not None:
        return httpx.ConnectError(never_sent)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return httpx.UnsupportedProtocol("not a URL that can be called")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx.RemoteProtocolError("the server closed the connection without an answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return httpx.RemoteProtocolError("the answer is not HTTP, or its headers are too large")
    if isinstance(error, aiohttp.ClientPayloadError) and not _was_reset(error):
        return httpx.RemoteProtocolError("the answer broke off before its end, or breaks HTTP")
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return httpx.WriteError("the server closed the connection while the request was sent")
    if isinstance(error, aiohttp.ClientError | OSError):
        return httpx.ReadError("the connection broke")
    return httpx.LocalProtocolError("the request can't be written as HTTP")


def _unconnected(error: Exception) -> str | None:
    """What kept a connection from coming about, if that is what the error means."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name can't be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        reason = getattr(cause, "verify_message", None) or type(cause).__name__
        return f"its certificate can't be trusted: {reason.rstrip('.')}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"no connection to the proxy: {_reason(error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _reason(error)
    if isinstance(error, OSError) and _REJECTED.search(str(error)):
        # in TLS 1.3 this comes after our handshake, but before the server looks at any request
        return CERTIFICATE_WANTED
    return None


def _was_reset(error: aiohttp.ClientPayloadError) -> bool:
    # aiohttp keeps the connection's own error only in the text
    return isinstance(error.__cause__, OSError) or "ConnectionResetError" in str(error)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if isinstance(cause, ssl.SSLError):
        if _REJECTED.search(str(cause)):
            return CERTIFICATE_WANTED
        return f"TLS failed: {(cause.reason or 'unknown').lower().replace('_', ' ')}"
    if cause.errno in (errno.EMFILE, errno.ENFILE):
        return "this host has too many files open; raise its limit (ulimit -n) or lower concurrency"
    # not its own text, which names addresses
    return os.strerror(cause.errno) if cause.errno else "none of its addresses can be reached"


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
