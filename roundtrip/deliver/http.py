"""The `http` delivery: a signed request for each file, to one URL that no file can change.

    parcel -> body: JSON about it, or its bytes -> signatures -> request -> status

The standard library's client is enough for one request now and then, and role a need not load the
one that role b calls its APIs with. It blocks, so each request has a thread.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from roundtrip import __version__
from roundtrip.deliver import content
from roundtrip.deliver.port import Parcel, Undelivered, printable
from roundtrip.deliver.proxy import AUTHENTICATION_REQUIRED, PlainByProxy, Proxy, TunnelByProxy
from roundtrip.deliver.settings import DeliverySettings, WebhookSettings
from roundtrip.deliver.signature import key_of, message_id, signatures
from roundtrip.deliver.threads import beside
from roundtrip.template import Url

_BUSY = (429, 502, 503, 504)  # The receiver has too much to do, or isn't there (RFC 9110, 6585).
_PASSING = (404, 408, 425, *_BUSY)
"""404 says nothing about later (RFC 9110 section 15.5.5), 410 that it will stay so: servers answer
404 while an application is being deployed."""
_HEAD = 300  # bytes of an answer that are shown


class Webhook:
    """Sends the parcels of one delivery to a URL; implements `Delivery`."""

    def __init__(self, settings: DeliverySettings, action: WebhookSettings) -> None:
        self._settings = action
        self._timeout = settings.timeout
        self._keys = [key_of(secret) for secret in action.secrets]
        url, parts = Url(action.url, {}), urlsplit(action.url)
        self._is_tls = parts.scheme.lower() == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._proxy = None if action.proxy is None else Proxy.of(action.proxy)
        self._asks_proxy = self._proxy is not None and not self._is_tls
        self._target = url.render({}) if self._asks_proxy else url.target({})
        self._own = {name: text.encode() for name, text in action.headers.items()}
        if url.userinfo:
            pair = base64.b64encode(unquote(url.userinfo).encode())
            self._own = {"Authorization": b"Basic " + pair, **self._own}  # RFC 7617

    async def deliver(self, parcel: Parcel) -> None:
        """Return when the receiver has answered with a status of 200 to 299."""
        request = _Request(self._connection(), self._host)

        def send() -> tuple[int, str | None, bytes]:
            body = self._body(parcel)  # here, since a large file takes its time to be read
            headers = self._headers(parcel, body)
            return request.made(self._settings.method, self._target, body, headers)

        status, retry_after, said = await beside(send, request.cut)
        if self._proxy and self._asks_proxy and status == AUTHENTICATION_REQUIRED:
            raise Undelivered(True, f"{self._host}: {self._proxy.refusal(status)}", away=True)
        if not 200 <= status < 300:
            raise judged(self._host, status, retry_after, said)

    def _body(self, parcel: Parcel) -> Body:
        if self._settings.body == "file":
            return FileBody(parcel)
        return Body(json.dumps(parcel.event(), separators=(",", ":")).encode())

    def _headers(self, parcel: Parcel, body: Body) -> dict[str, str | bytes]:
        headers: dict[str, str | bytes] = {
            "User-Agent": f"roundtrip/{__version__}",
            "Content-Type": body.kind,
            "Content-Length": str(body.size),
            "Idempotency-Key": parcel.id,
            **body.headers,
            **(self._proxy.headers if self._proxy and self._asks_proxy else {}),
            **self._own,
        }
        identity, now = message_id(parcel.id), int(time.time())
        headers |= {"webhook-id": identity, "webhook-timestamp": str(now)}
        if self._keys:
            headers["webhook-signature"] = signatures(self._keys, identity, now, body.pieces())
        return headers

    def _connection(self) -> http.client.HTTPConnection:
        host, port, timeout = self._host, self._port, self._timeout
        if self._proxy is None:
            if self._is_tls:
                return http.client.HTTPSConnection(
                    host, port, timeout=timeout, context=self._context
                )
            return http.client.HTTPConnection(host, port, timeout=timeout)
        if self._is_tls:
            return TunnelByProxy(self._proxy, host, port, timeout, self._context)
        return PlainByProxy(self._proxy, host, port, timeout)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._settings.ca)
        except OSError as error:
            text = f"http.ca: {self._settings.ca}: {error.strerror or error}"
            raise Undelivered(True, text, away=True) from None

    async def aclose(self) -> None:
        """Nothing is left: each request has a connection of its own."""


class Body:
    """What is sent, from memory."""

    kind = "application/json"
    headers: Mapping[str, str] = {}

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.size = len(text)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, each time from the beginning."""
        yield self._text


class FileBody(Body):
    """The file itself, read when it is sent; verified before."""

    def __init__(self, parcel: Parcel) -> None:
        self._parcel = parcel
        self.size = parcel.size
        self.kind = content.media_type(parcel)
        self.headers = {
            "X-Roundtrip-Exchange": parcel.exchange,
            "X-Roundtrip-Outcome": parcel.outcome,
            "X-Roundtrip-Sha256": parcel.sha256,
            # Percent-encoded UTF-8: a header's value is ASCII (RFC 9110 section 5.5).
            "X-Roundtrip-Name": quote(printable(parcel.original_name), safe=""),
        }
        content.verify(parcel)

    def pieces(self) -> Iterator[bytes]:
        with content.opened(self._parcel) as source:
            yield from _pieces(source)


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(content.PIECE):
        yield piece


class _Request:
    """One request in a thread."""

    def __init__(self, connection: http.client.HTTPConnection, host: str) -> None:
        self._connection = connection
        self._host = host
        self._is_cut = False

    def made(
        self, method: str, target: str, body: Body, headers: Mapping[str, str | bytes]
    ) -> tuple[int, str | None, bytes]:
        """The answer's status, its Retry-After and its beginning; Undelivered without an answer."""
        connection = self._connection
        try:
            connection.connect()
            if self._is_cut:
                raise ConnectionAbortedError("cut")
            with suppress(BrokenPipeError, ConnectionResetError):  # It may have answered early.
                connection.request(method, target, body.pieces(), dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.getheader("Retry-After"), answer.read(_HEAD)
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            text = f"{self._host}: {' '.join(str(words).split())}"
            raise Undelivered(True, text, away=True) from None
        finally:
            connection.close()

    def cut(self) -> None:
        """End at once, from another thread."""
        self._is_cut = True
        if self._connection.sock is not None:
            with suppress(OSError):  # It has ended by itself.
                self._connection.sock.shutdown(socket.SHUT_RDWR)


def judged(host: str, status: int, retry_after: str | None, said: bytes) -> Undelivered:
    """What a status means that is no success; redirects are not followed."""
    text = " ".join("".join(c if c.isprintable() else " " for c in said.decode(errors="replace"))
                    .split())  # fmt: skip
    after = f": {text}" if text else ""
    if 300 <= status < 400:
        after = ": it redirects, which is not followed; change the URL"
    is_passing = status in _PASSING or status >= 500
    return Undelivered(
        is_passing,
        f"{host} answered {status}{after}",
        away=status in _BUSY,
        after=seconds_of(retry_after) if is_passing else None,
    )


def seconds_of(retry_after: str | None, now: Callable[[], float] = time.time) -> float | None:
    """The pause that a Retry-After asks for (RFC 9110 section 10.2.3); None if it can't be read."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:10])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(aware.timestamp() - now(), 0.0)
