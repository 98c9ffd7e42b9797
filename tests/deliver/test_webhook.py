"""Webhooks, to a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from roundtrip.deliver.http import Webhook, seconds_of
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, WebhookSettings
from roundtrip.deliver.signature import key_of
from tests.deliver.parcels import parcel_of

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()

Request = tuple[str, str, dict[str, str], bytes]


class Site:
    """Notes requests, and answers as told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[], tuple[int, dict[str, str], bytes]] = lambda: (204, {}, b"")
        self.url = ""


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append((self.command, self.path, dict(self.headers.items()), body))
            status, headers, text = found.answer()
            self.send_response(status)
            for item in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(*item)
            self.end_headers()
            self.wfile.write(text)

        do_PUT = do_POST

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    found.url = f"{scheme}://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hook(url: str, **more: Any) -> Webhook:
    action = WebhookSettings(url, **more)
    return Webhook(DeliverySettings("tell", action, timeout=20.0), action)


async def failure(made: Webhook, parcel: Parcel) -> Undelivered:
    with pytest.raises(Undelivered) as told:
        await made.deliver(parcel)
    assert "\n" not in told.value.text
    return told.value


async def test_a_request_says_what_is_ready(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"content")
    with site() as found:
        made = hook(found.url + "/new?for=us", headers={"Authorization": "Bearer x"})
        await made.deliver(parcel)
        ((method, target, headers, body),) = found.requests
    assert (method, target) == ("POST", "/new?for=us")
    assert json.loads(body) == parcel.event()
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == parcel.id
    assert headers["Authorization"] == "Bearer x"
    assert "webhook-signature" not in headers


async def test_a_url_may_hold_a_name_and_password_and_letters_of_any_script(
    tmp_path: Path,
) -> None:
    with site() as found:
        url = found.url.replace("://", "://me:s%40crt@") + "/ü?q=ä b"
        await hook(url, headers={"X-Word": "ü"}).deliver(parcel_of(tmp_path, b"x"))
        ((_, target, headers, _),) = found.requests
    assert target == "/%C3%BC?q=%C3%A4%20b"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:s@crt"
    assert headers["X-Word"].encode("latin-1").decode() == "ü"


async def test_the_file_itself_may_be_the_body(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    parcel = parcel_of(tmp_path, content, name="für.pdf")
    with site() as found:
        await hook(found.url, body="file", method="PUT").deliver(parcel)
        ((method, _, headers, body),) = found.requests
    assert method == "PUT"
    assert body == content
    assert headers["Content-Type"] == "application/pdf"
    assert headers["X-Roundtrip-Name"] == "f%C3%BCr.pdf"
    assert headers["X-Roundtrip-Sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("body", ["event", "file"])
async def test_the_signature_is_what_the_specification_asks_for(tmp_path: Path, body: str) -> None:
    parcel = parcel_of(tmp_path, b"content")
    with site() as found:
        made = hook(found.url, secret=SECRET, body=body)
        await made.deliver(parcel)
        await made.deliver(replace(parcel, attempt=2))
        first, again = found.requests
    for _, _, headers, sent in (first, again):
        identity, at = headers["webhook-id"], headers["webhook-timestamp"]
        assert abs(int(at) - time.time()) < 60
        signed = f"{identity}.{at}.".encode() + sent
        key = b"0123456789abcdef01234567"
        expected = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert "." not in identity, "else two signed texts could be one"
    assert first[2]["webhook-id"] == again[2]["webhook-id"]
    assert first[2]["Idempotency-Key"] == parcel.id


@pytest.mark.parametrize("secret", ["whsec_?", "whsec_c2hvcnQ=", ""])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_|short"):
        key_of(secret)


@pytest.mark.parametrize(
    ("status", "passing", "away"),
    [
        (301, False, False),
        (307, False, False),
        (400, False, False),
        (401, False, False),
        (404, False, False),
        (408, True, False),
        (410, False, False),
        (425, True, False),
        (429, True, True),
        (500, True, False),
        (501, True, False),
        (502, True, True),
        (503, True, True),
        (504, True, True),
    ],
)
async def test_what_each_status_means(
    tmp_path: Path, status: int, passing: bool, away: bool
) -> None:
    with site() as found:
        found.answer = lambda: (status, {"Location": "/else"}, b"because\nof that\x1b[2J")
        told = await failure(hook(found.url), parcel_of(tmp_path, b"x"))
        assert len(found.requests) == 1, "a redirect is not followed"
    assert (told.passing, told.away) == (passing, away)
    assert str(status) in told.text
    assert told.text.isprintable()


async def test_retry_after_is_obeyed_where_trying_again_makes_sense(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"x")
    with site() as found:
        found.answer = lambda: (503, {"Retry-After": "120"}, b"")
        assert (await failure(hook(found.url), parcel)).after == 120.0
        found.answer = lambda: (410, {"Retry-After": "120"}, b"")
        assert (await failure(hook(found.url), parcel)).after is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (formatdate(1_700_000_060, usegmt=True), 60.0),
        (formatdate(1_600_000_000, usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, 9_999_999_999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text, now=lambda: 1_700_000_000.0) == seconds


async def test_a_receiver_over_tls_is_believed_by_its_authority_only(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    parcel = parcel_of(tmp_path, b"x")
    with site(context) as found:
        await hook(found.url, ca=str(ca)).deliver(parcel)
        assert len(found.requests) == 1
        told = await failure(hook(found.url), parcel)
        assert told.away
        assert "certificate" in told.text
        assert len(found.requests) == 1


async def test_a_receiver_that_is_not_there_is_away(tmp_path: Path) -> None:
    with site() as found:
        url = found.url
    told = await failure(hook(url), parcel_of(tmp_path, b"x"))
    assert (told.passing, told.away) == (True, True)


async def test_what_was_changed_in_place_is_not_sent_as_what_arrived(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"content")
    parcel.path.write_bytes(b"CONTENT")
    with site() as found:
        told = await failure(hook(found.url, body="file"), parcel)
        assert found.requests == []
    assert not told.passing


async def test_a_receiver_that_hangs_is_left_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        task = asyncio.create_task(hook(url).deliver(parcel_of(tmp_path, b"x")))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            assert await asyncio.to_thread(connection.recv, 65536)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while await asyncio.to_thread(connection.recv, 65536):
                pass  # Then the connection is cut.
