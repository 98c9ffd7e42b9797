"""Webhooks, to a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from roundtrip.deliver.http import Webhook, seconds_of
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, WebhookSettings
from roundtrip.deliver.signature import key_of
from tests.deliver.gateway import gateway
from tests.deliver.parcels import parcel_of
from tests.deliver.serving import serving

PAGE = Path(__file__).parents[2] / "docs/how-to/webhook.md"
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
    with serving(server):
        yield found


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
        made = hook(found.url, secrets=(SECRET,), body=body)
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


async def test_each_secret_signs_so_that_a_receiver_may_have_the_old_one_or_the_new(
    tmp_path: Path,
) -> None:
    new, old = SECRET, "whsec_" + base64.b64encode(b"the one that was before 24").decode()
    parcel = parcel_of(tmp_path, bytes(range(256)) * 9000)
    with site() as found:
        await hook(found.url, secrets=(new, old), body="file").deliver(parcel)
        await hook(found.url, secrets=(old,), body="file").deliver(parcel)
        (_, _, both, sent), (_, _, one, _) = found.requests
    given = both["webhook-signature"].split(" ")
    assert len(given) == 2 and all(each.startswith("v1,") for each in given)
    assert len(one["webhook-signature"].split(" ")) == 1
    is_genuine = receiver_of_the_page()
    assert is_genuine(both, sent, new) and is_genuine(both, sent, old)
    assert is_genuine(one, sent, old) and not is_genuine(one, sent, new)
    assert not is_genuine(both, sent + b"x", new)
    first = {**both, "webhook-signature": given[0]}
    assert is_genuine(first, sent, new) and not is_genuine(first, sent, old), "the newest first"


def receiver_of_the_page() -> Callable[[dict[str, str], bytes, str], bool]:
    """What the how-to shows to those who verify without a library."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[[dict[str, str], bytes, str], bool] = names["is_genuine"]
    return found


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
        (404, True, False),
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


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_is_gone_through_with_a_password_that_it_alone_is_told(
    tmp_path: Path, ca: trustme.CA, tls: bool
) -> None:
    """The receiver's name is one that only the proxy knows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("shop.invalid").configure_cert(context)
    content = bytes(range(256)) * 2000
    parcel = parcel_of(tmp_path, content)
    with site(context if tls else None) as found, gateway() as proxy:
        proxy.login = "me:s@crt"
        port = urlsplit(found.url).port
        assert port is not None
        proxy.places = {"shop.invalid": ("127.0.0.1", port)}
        url = f"{'https' if tls else 'http'}://shop.invalid:{port}/new?for=us"
        more = {"ca": str(tmp_path / "ca.pem"), "secrets": (SECRET,), "body": "file"}
        await hook(url, proxy=proxy.url("me:s%40crt"), **more).deliver(parcel)
        ((method, target, headers, body),) = found.requests
        ((asked, about, _),) = proxy.asked
        assert (method, target, body) == ("POST", "/new?for=us", content)
        assert (asked, about) == (("CONNECT", f"shop.invalid:{port}") if tls else ("POST", url))
        assert headers["Host"] == f"shop.invalid:{port}"
        assert not any(name.lower().startswith("proxy") for name in headers)
        assert receiver_of_the_page()(headers, body, SECRET)

        wrong = await failure(hook(url, proxy=proxy.url("me:wrong"), **more), parcel)
        assert (wrong.passing, wrong.away) == (True, True), "the receiver was not asked"
        assert wrong.text == "shop.invalid: the proxy localhost answered 407"
        nobody = url.replace("shop.", "nobody.")
        away = await failure(hook(nobody, proxy=proxy.url("me:s%40crt"), **more), parcel)
        assert (away.passing, away.away) == (True, True)
        assert "502" in away.text
    gone = await failure(hook(url, proxy=proxy.url("me:s%40crt"), **more), parcel)
    assert (gone.passing, gone.away) == (True, True)
    assert gone.text == "shop.invalid: no connection to the proxy localhost: Connection refused"
    assert len(found.requests) == 1


async def test_a_wrong_certificate_behind_a_proxy_is_not_believed(
    tmp_path: Path, ca: trustme.CA
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("other.invalid").configure_cert(context)
    with site(context) as found, gateway() as proxy:
        proxy.places = {"shop.invalid": ("127.0.0.1", urlsplit(found.url).port or 0)}
        made = hook("https://shop.invalid/", proxy=proxy.url(), ca=str(tmp_path / "ca.pem"))
        told = await failure(made, parcel_of(tmp_path, b"x"))
        assert found.requests == []
    assert told.away
    assert "certificate" in told.text


async def test_no_proxy_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site() as found, gateway() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        await hook(found.url).deliver(parcel_of(tmp_path, b"x"))
        assert len(found.requests) == 1
        assert proxy.asked == []


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 2x0 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"x" * 20000]
)
async def test_what_answers_like_no_proxy_is_told_in_one_line(
    tmp_path: Path, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as odd:
        proxy = f"http://127.0.0.1:{odd.getsockname()[1]}"
        made = hook("https://shop.invalid/", proxy=proxy)
        task = asyncio.create_task(failure(made, parcel_of(tmp_path, b"x")))
        connection, _ = await asyncio.to_thread(odd.accept)
        with connection:
            await asyncio.to_thread(connection.recv, 65536)
            connection.sendall(answer)
        told = await task
    assert told.away
    assert told.text == "shop.invalid: the proxy 127.0.0.1 answered nothing of use"


async def test_a_proxy_that_hangs_is_left_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        made = hook("https://[::1]:444/", proxy=proxy)
        task = asyncio.create_task(made.deliver(parcel_of(tmp_path, b"x")))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            asked = await asyncio.to_thread(connection.recv, 65536)
            assert asked.startswith(b"CONNECT [::1]:444 HTTP/1.1\r\nHost: [::1]:444\r\n")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(connection.recv, 65536) == b"", "it is cut"


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
