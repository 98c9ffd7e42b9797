"""What each fault of a server means for a record, and how often the server was asked."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from roundtrip.enrich import Enricher, Pipeline
from roundtrip.enrich.settings import HostSettings, Retry
from tests.enrich.conftest import Pauses
from tests.enrich.faults import server as speak
from tests.enrich.faults.server import Fault, FaultServer, answer, answers, fails_first, ok
from tests.enrich.steps import http_step

GOOD = b'{"city": "Bonn"}'
DEEP = b"[" * 100_000 + b"]" * 100_000
LATIN = ok('{"city": "Köln"}'.encode("latin-1"))
NONE, LOST, LATE = "No connection", "Connection lost", "No answer in time"
UNUSABLE, IMPOSSIBLE = "Unusable answer", "Call impossible"


async def busy_until_a_date(link: speak.Link) -> None:
    """The date counts from the call: the table is made long before its rows are run."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).encode()
    await fails_first(b"429 Slow", b"Retry-After: " + soon)(link)


@dataclass(frozen=True)
class Row:
    """One fault. `get` and `post`: the error's title (None: all is well) and the attempts made.

    `reached`: the requests that the server read, if that is another number.
    """

    name: str
    fault: Fault
    get: tuple[str | None, int]
    post: tuple[str | None, int]
    reached: tuple[int, int] | None = None
    timeout: float = 10.0
    says: str = ""


def chunked(rest: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest


def redirect(location: bytes, status: bytes = b"302 Found") -> bytes:
    return answer(status, b"", b"Location: " + location)


def coded(coding: bytes) -> bytes:
    return ok(GOOD, b"Content-Encoding: " + coding)


ONCE_MORE_IF_IDEMPOTENT = ((LOST, 2), (LOST, 1))
REFUSED_ANSWER = ((UNUSABLE, 1), (UNUSABLE, 1))
WELL = ((None, 1), (None, 1))
WELL_LATER = ((None, 2), (None, 2))

TABLE = [
    # what may have been executed is asked for again only when that does no harm
    Row("reset before it reads", speak.resets_first, *ONCE_MORE_IF_IDEMPOTENT, reached=(0, 0)),
    Row("reset after it read", speak.resets_after, *ONCE_MORE_IF_IDEMPOTENT),
    Row("close without an answer", answers(b""), *ONCE_MORE_IF_IDEMPOTENT),
    Row("half an answer, close", answers(ok(GOOD)[:-9]), *ONCE_MORE_IF_IDEMPOTENT),
    Row("half an answer, reset", speak.resets_within, *ONCE_MORE_IF_IDEMPOTENT),
    Row("half the headers, close", answers(ok(GOOD)[:30]), *ONCE_MORE_IF_IDEMPOTENT),
    Row("no answer", speak.silent, (LATE, 2), (LATE, 1), timeout=0.6),
    Row("slow drip", speak.drips, (LATE, 2), (LATE, 1), timeout=0.6),
    Row("endless hints", speak.endless_informational, (LATE, 2), (LATE, 1), timeout=0.6),
    Row("endless headers", speak.endless_headers, *ONCE_MORE_IF_IDEMPOTENT),
    Row("huge header", answers(ok(GOOD, b"X: " + b"x" * 20000)), *ONCE_MORE_IF_IDEMPOTENT),
    Row(
        "many headers",
        answers(ok(GOOD, *[b"X-%d: x" % n for n in range(500)])),
        *ONCE_MORE_IF_IDEMPOTENT,
    ),
    Row("bad chunk size", answers(chunked(b"zz\r\n{}\r\n0\r\n\r\n")), *ONCE_MORE_IF_IDEMPOTENT),
    Row("chunk too short", answers(chunked(b"9\r\n{}\r\n0\r\n\r\n")), *ONCE_MORE_IF_IDEMPOTENT),
    Row("HTTP/0.9", answers(b"<html>hello</html>\r\n"), *ONCE_MORE_IF_IDEMPOTENT),
    Row("another protocol", answers(b"220 mail.example ESMTP\r\n"), *ONCE_MORE_IF_IDEMPOTENT),
    Row("length too small", answers(ok(GOOD).replace(b": 16", b": 9")), *ONCE_MORE_IF_IDEMPOTENT),
    Row("length too large", answers(ok(GOOD).replace(b": 16", b": 99")), *ONCE_MORE_IF_IDEMPOTENT),
    Row("two lengths", answers(ok(GOOD, b"Content-Length: 4")), *ONCE_MORE_IF_IDEMPOTENT),
    # whole answers that are of no use: the next one would be as bad
    Row("invalid JSON", answers(ok(b"{'city': 1}")), *REFUSED_ANSWER),
    Row("a page of HTML", answers(ok(b"<html>Log in</html>")), *REFUSED_ANSWER),
    Row("too deep JSON", answers(ok(DEEP)), *REFUSED_ANSWER),
    Row("wrong charset", answers(LATIN), *REFUSED_ANSWER),
    Row(
        "unknown charset",
        answers(ok(GOOD).replace(b"json", b"json;charset=klingon")),
        *REFUSED_ANSWER,
        says="unknown charset",
    ),
    Row("gzip ends early", answers(speak.packed(GOOD * 99, -12)), *REFUSED_ANSWER, says="cut"),
    Row(
        "gzip broken",
        answers(ok(b"\x1f\x8b" + b"\0\xff" * 99, b"Content-Encoding: gzip")),
        *REFUSED_ANSWER,
        says="broken",
    ),
    Row("not gzip at all", answers(coded(b"gzip")), *REFUSED_ANSWER, says="broken"),
    Row("br", answers(coded(b"br")), *REFUSED_ANSWER, says="not one that was asked"),
    Row("zstd", answers(coded(b"zstd")), *REFUSED_ANSWER, says="not one that was asked"),
    Row("five codings", answers(coded(b"gzip, gzip,gzip ,gzip, gzip")), *REFUSED_ANSWER),
    Row("endless answer", speak.endless, *REFUSED_ANSWER, says="larger"),
    Row("gzip bomb", speak.bomb(b"gzip", 1), *REFUSED_ANSWER, says="bomb"),
    Row("deflate bomb", speak.bomb(b"deflate", 1), *REFUSED_ANSWER, says="bomb"),
    Row("gzip bomb in gzip", speak.bomb(b"gzip, gzip", 2), *REFUSED_ANSWER),
    # odd, but right
    Row("a hint first", answers(b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(GOOD)), *WELL),
    Row("204", answers(b"HTTP/1.1 204 No Content\r\n\r\n"), *WELL),
    Row("declared charset", answers(LATIN.replace(b"json", b"json;charset=latin1")), *WELL),
    Row("byte by byte", answers(*[bytes([byte]) for byte in ok(GOOD)]), *WELL),
    Row("no length, close", answers(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD), *WELL),
    # statuses
    Row("304 unasked", answers(b"HTTP/1.1 304 Not Modified\r\n\r\n"), ("304 Not Modified", 1),
        ("304 Not Modified", 1)),
    Row("429 for ever", fails_first(b"429 Too Many Requests"), *WELL_LATER),
    Row("429, seconds", fails_first(b"429 Slow", b"Retry-After: 7"), *WELL_LATER),
    Row("429, date", busy_until_a_date, *WELL_LATER),
    Row("429, rubbish", fails_first(b"429 Slow", b"Retry-After: soon"), *WELL_LATER),
    Row("503", fails_first(b"503 Service Unavailable"), *WELL_LATER),
    Row("500", fails_first(b"500 Oops"), (None, 2), ("500 Internal Server Error", 1)),
    Row("502", fails_first(b"502 Bad Gateway"), (None, 2), ("502 Bad Gateway", 1)),
    Row("504", fails_first(b"504 Timeout"), (None, 2), ("504 Gateway Timeout", 1)),
    # redirects
    Row("redirect loop", speak.redirects_in_a_loop, (IMPOSSIBLE, 1), (IMPOSSIBLE, 1),
        reached=(6, 1)),
    Row("redirect to another host", answers(redirect(b"http://evil.example/?k=SECRET")),
        (IMPOSSIBLE, 1), (IMPOSSIBLE, 1)),
    Row("307 to another port", answers(redirect(b"http://127.0.0.1:1/", b"307 Temporary")),
        (IMPOSSIBLE, 1), (IMPOSSIBLE, 1), says="127.0.0.1:1"),
]  # fmt: skip


@dataclass
class Outcome:
    """What came of one record."""

    error: dict[str, Any] | None
    calls: int
    value: Any
    pauses: list[float]


Asker = Callable[..., Awaitable[Outcome]]


async def ask(
    url: str, method: str, *, hosts: dict[str, HostSettings] | None = None, **settings: Any
) -> Outcome:
    """Send one record through a pipeline of one step, with two attempts for each call."""
    body = {"json": {"ip": "{ip}"}} if method == "POST" else {}
    given = {"retry": Retry(attempts=2), "method": method, **body, **settings}
    pipeline = Pipeline("p", (http_step("geo", url, **given),))
    pauses, sink = Pauses(), io.BytesIO()
    enricher = Enricher([pipeline], hosts=hosts, sleep=pauses)
    try:
        result = await enricher.run(pipeline, "a.jsonl", io.BytesIO(b'{"ip": "1"}\n'), sink)
    finally:
        await enricher.aclose()
    value = json.loads(sink.getvalue())["geo"]
    error = value.get("error") if isinstance(value, dict) else None
    return Outcome(error, result.stats.calls, value, pauses.seconds)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[FaultServer]]]:
    """Starts a fault server: `await serve(fault)`."""
    started: list[FaultServer] = []

    async def start(fault: Fault, tls: ssl.SSLContext | None = None) -> FaultServer:
        started.append(FaultServer(fault, tls))
        await started[-1].start()
        return started[-1]

    yield start
    for server in started:
        await server.stop()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
async def test_a_fault_has_its_title_and_its_number_of_attempts(
    serve: Any, row: Row, method: str
) -> None:
    server = await serve(row.fault)
    found = await ask(f"{server.url}/?key=SECRET", method, timeout=row.timeout)
    title, calls = row.get if method == "GET" else row.post
    assert (found.error["title"] if found.error else None, found.calls) == (title, calls), found
    reached = row.reached[method == "POST"] if row.reached else calls
    assert len(server.requests) == reached
    if found.error:
        assert row.says in found.error["detail"]
        assert "SECRET" not in str(found.error)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_never_came_about_is_tried_again(method: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = await ask(f"http://127.0.0.1:{free.getsockname()[1]}/", method)
    assert found.error is not None
    assert (found.error["title"], found.calls) == (NONE, 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_name_that_does_not_resolve_is_tried_again(method: str) -> None:
    found = await ask("http://nowhere.invalid/", method)
    assert found.error is not None
    assert (found.error["title"], found.calls) == (NONE, 2)
    assert "name can't be resolved" in found.error["detail"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_429_for_ever_ends_after_all_attempts(serve: Any, method: str) -> None:
    async def refuses(link: speak.Link) -> None:
        while await link.request():
            await link.send(answer(b"429 Too Many Requests"))

    server = await serve(refuses)
    found = await ask(server.url, method)
    assert found.error is not None
    assert (found.error["title"], found.calls) == ("429 Too Many Requests", 2)


async def test_a_pause_that_was_asked_for_is_made_and_costs_no_attempt(serve: Any) -> None:
    async def refuses(link: speak.Link) -> None:
        while await link.request():
            enough = len(link.server.requests) > 4
            busy = answer(b"429 Too Many Requests", b"", b"Retry-After: 7")
            await link.send(ok(GOOD) if enough else busy)

    server = await serve(refuses)
    found = await ask(server.url, "POST")
    assert found.value == {"city": "Bonn"}
    assert found.calls == 5
    assert max(found.pauses) >= 6.5


async def test_a_host_that_is_named_nowhere_is_not_called(serve: Any) -> None:
    server = await serve(answers(redirect(b"http://evil.example/x?key=SECRET")))
    found = await ask(server.url, "GET")
    assert found.error is not None
    assert "it redirects to evil.example, and a redirect is followed" in found.error["detail"]


async def test_a_redirect_on_the_same_host_is_followed(serve: Any) -> None:
    async def moved(link: speak.Link) -> None:
        while head := await link.request():
            there = head.startswith(b"GET /there ")
            await link.send(ok(GOOD) if there else redirect(b"there"))

    server = await serve(moved)
    assert (await ask(f"{server.url}/here", "GET")).value == {"city": "Bonn"}


async def test_bytes_after_an_answer_are_never_the_next_one(serve: Any) -> None:
    """A length that is too small must not let the rest pass for another record's answer."""
    forged = ok(b'{"city": "forged"}')

    async def talkative(link: speak.Link) -> None:
        while await link.request():
            await link.send(ok(GOOD) + forged)

    server = await serve(talkative)
    step = http_step("geo", server.url + "/{ip}", retry=Retry(attempts=1), concurrency=1)
    pipeline, sink = Pipeline("p", (step,)), io.BytesIO()
    enricher = Enricher([pipeline])
    records = b"".join(b'{"ip": "%d"}\n' % number for number in range(5))
    await enricher.run(pipeline, "a.jsonl", io.BytesIO(records), sink)
    await enricher.aclose()
    assert b"forged" not in sink.getvalue()
    assert sink.getvalue().count(b"Bonn") == 5


@pytest.mark.parametrize(("codings", "levels"), [(b"gzip", 1), (b"gzip, gzip", 2), (b"deflate", 1)])
async def test_a_bomb_ends_early_and_stays_small(serve: Any, codings: bytes, levels: int) -> None:
    server = await serve(speak.bomb(codings, levels))
    tracemalloc.start()
    began = time.monotonic()
    found = await ask(server.url, "GET", max_response=8 * 1024 * 1024)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.error is not None
    assert found.error["title"] == UNUSABLE
    assert peak < 40 * 1024 * 1024
    assert time.monotonic() - began < 10


async def test_a_bomb_in_a_raw_answer_is_an_error_too(serve: Any, tmp_path: Path) -> None:
    from roundtrip.enrich.faults import PayloadFault

    server = await serve(speak.bomb(b"gzip", 1))
    pipeline = Pipeline("p", (http_step("geo", server.url, method="POST"),), format="raw")
    enricher = Enricher([pipeline])
    with (tmp_path / "out").open("wb") as sink, pytest.raises(PayloadFault, match="bomb"):
        await enricher.run(pipeline, "a.bin", io.BytesIO(b"x"), sink)
    await enricher.aclose()
    assert (tmp_path / "out").stat().st_size < 200 * 1024 * 1024


CA = trustme.CA()
OTHER = trustme.CA()
PAST = datetime.now(UTC) - timedelta(days=1)


def server_tls(authority: trustme.CA, name: str, **times: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **times).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


TLS = [
    ("of an unknown authority", server_tls(OTHER, "127.0.0.1"), "unable to get local issuer"),
    ("for another name", server_tls(CA, "other.example"), "not valid for '127.0.0.1'"),
    ("that has expired", server_tls(CA, "127.0.0.1", not_after=PAST), "expired"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("name", "tls", "says"), TLS, ids=[row[0] for row in TLS])
async def test_a_bad_certificate_is_not_talked_to(
    serve: Any, ca_file: str, name: str, tls: ssl.SSLContext, says: str, method: str
) -> None:
    server = await serve(answers(ok(GOOD)), tls)
    hosts = {"127.0.0.1": HostSettings("127.0.0.1", ca=ca_file)}
    found = await ask(server.url, method, hosts=hosts)
    assert found.error is not None
    assert (found.error["title"], found.calls) == (NONE, 1)  # no record would fare better
    assert says in found.error["detail"]
    assert server.requests == []


async def test_the_same_certificate_authority_with_the_right_name_is_talked_to(
    serve: Any, ca_file: str
) -> None:
    server = await serve(answers(ok(GOOD)), server_tls(CA, "127.0.0.1"))
    hosts = {"127.0.0.1": HostSettings("127.0.0.1", ca=ca_file)}
    assert (await ask(server.url, "GET", hosts=hosts)).value == {"city": "Bonn"}
    found = await ask(server.url, "GET")  # the system doesn't know this authority
    assert found.error is not None
    assert "certificate can't be trusted" in found.error["detail"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_tls_to_a_plain_server_is_no_connection(serve: Any, method: str) -> None:
    async def rubbish(link: speak.Link) -> None:
        await link.reader.read(100)
        await link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await serve(rubbish)
    found = await ask(server.url.replace("http:", "https:"), method)
    assert found.error is not None
    assert (found.error["title"], found.calls) == (NONE, 2)
    assert "TLS failed" in found.error["detail"]


@pytest.mark.parametrize(("method", "calls"), [("GET", 2), ("POST", 1)])
async def test_plain_http_to_a_tls_server_is_a_broken_connection(
    serve: Any, method: str, calls: int
) -> None:
    server = await serve(answers(ok(GOOD)), server_tls(CA, "127.0.0.1"))
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    found = await ask(server.url.replace("https:", "http:"), method)
    assert found.error is not None
    assert (found.error["title"], found.calls) == (LOST, calls)
