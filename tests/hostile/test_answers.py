"""What a stranger or a mad B can put into Enriched: A delivers only what fits what it sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.intake.hosts import Hosts, agents, until

ORIGINAL = b"a,b\n1,2\n"
RESULT = b"a,b,c\n1,2,3\n"


def digest(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def marker(exchange: str, result: bytes = RESULT, **fields: Any) -> bytes:
    """A good answer's marker with some of its fields changed."""
    request = {**digest(ORIGINAL), "attempt": 1}
    good = {"v": 1, "exchange": exchange, "outcome": "enriched", "request": request}
    return json.dumps({**good, **digest(result), **fields}).encode()


@pytest.fixture
async def asking(hosts: Hosts) -> AsyncIterator[Hosts]:
    """Agent A at work; the test plays B."""
    async with agents(hosts, "a"):
        yield hosts
    assert hosts.log.defects == []
    for line in hosts.log.lines:
        assert line.isascii() and line.isprintable()


async def asked(hosts: Hosts, name: str = "x.csv") -> str:
    """Put a file into the outbox; returns the exchange once it is requested."""
    (hosts.folder / "staged").write_bytes(ORIGINAL)
    (hosts.folder / "staged").rename(hosts.outbox / name)
    await until(lambda: requests(hosts, name), "the request")
    return requests(hosts, name)[0]


def requests(hosts: Hosts, name: str = "x.csv") -> list[str]:
    return [path.stem for path in hosts.unenriched.glob(f"*-{name}.done")]


def answer(hosts: Hosts, exchange: str, result: bytes, content: bytes) -> None:
    """Answer as B does: payload, then marker, each renamed into place."""
    for name, text in ((exchange, result), (f"{exchange}.done", content)):
        (hosts.enriched / f".{name}.part").write_bytes(text)
        (hosts.enriched / f".{name}.part").rename(hosts.enriched / name)


def sweep(hosts: Hosts, exchange: str) -> None:
    """B's part of the end."""
    for name in (f"{exchange}.done", exchange):
        path = hosts.enriched / name
        if path.is_dir() and not path.is_symlink():
            (path / "inside").unlink(missing_ok=True)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


async def asked_again(hosts: Hosts, exchange: str) -> None:
    """A drops the request, B sweeps, A asks again."""
    await until(lambda: exchange not in requests(hosts), "the request's end")
    sweep(hosts, exchange)
    await until(lambda: exchange in requests(hosts), "the next attempt")
    content = json.loads((hosts.unenriched / f"{exchange}.done").read_bytes())
    assert content["attempt"] == 2


BAD: dict[str, Callable[[str], bytes]] = {
    "not JSON": lambda n: b"hello",
    "empty": lambda n: b"",
    "truncated": lambda n: marker(n)[:-9],
    "too large": lambda n: marker(n, created="x" * 70_000),
    "deep": lambda n: b"[" * 60_000,
    "another exchange's": lambda n: marker("other"),
    "another request's digest": lambda n: marker(n, request={**digest(b"other"), "attempt": 1}),
    "no request": lambda n: marker(n, request=None),
    "request as text": lambda n: marker(n, request="x"),
    "unknown outcome": lambda n: marker(n, outcome="excellent"),
    "outcome as a list": lambda n: marker(n, outcome=["enriched"]),
    "no outcome": lambda n: marker(n, outcome=None),
    "wrong size": lambda n: marker(n, size=5),
    "a petabyte": lambda n: marker(n, size=1 << 50),
    "negative size": lambda n: marker(n, size=-1),
    "wrong digest": lambda n: marker(n, sha256="0" * 64),
    "no digest": lambda n: marker(n, sha256=None),
    "huge integer": lambda n: b'{"v": 1, "size": ' + b"9" * 5000 + b"}",
    "resend": lambda n: marker(n, outcome="resend"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_an_answer_that_does_not_fit_is_refused_and_asked_for_again(
    kind: str, asking: Hosts
) -> None:
    exchange = await asked(asking)
    answer(asking, exchange, RESULT, BAD[kind](exchange))
    await asked_again(asking, exchange)
    assert asking.results() == {}
    assert asking.log.of("answer refused", exchange=exchange)
    answer(asking, exchange, RESULT, marker(exchange))
    assert await asking.delivered("x.csv") == RESULT


async def test_a_b_gone_mad_ends_in_failed_with_a_reason(asking: Hosts) -> None:
    exchange = await asked(asking)
    for _ in range(3):
        await until(lambda: exchange in requests(asking))
        answer(asking, exchange, RESULT, b"mad")
        await until(lambda: exchange not in requests(asking))
        sweep(asking, exchange)
    await until((asking.a.failed / "x.csv").exists)
    await until((asking.a.failed / "x.csv.problem.json").exists)
    assert (asking.a.failed / "x.csv").read_bytes() == ORIGINAL
    problem = json.loads((asking.a.failed / "x.csv.problem.json").read_bytes())
    assert "not UTF-8 JSON" in problem["detail"]


HINTS = ["../../../etc/cron.d/x", "/tmp/x", "..", "a\nb", "\u202ex", "\x1b[2J", "x" * 60_000]


@pytest.mark.parametrize("text", HINTS, ids=range(len(HINTS)))
async def test_the_result_has_the_originals_name_whatever_the_answer_says(
    text: str, asking: Hosts
) -> None:
    exchange = await asked(asking)
    also: dict[str, Any] = {"original_name": text, "name": text, "created": text, "signature": text}
    content = marker(exchange, responder={"host": text}, stats={text: 1}, **also)
    if len(content) > 65536:
        content = marker(exchange, original_name=text)
    answer(asking, exchange, RESULT, content)
    assert await asking.delivered("x.csv") == RESULT
    assert os.listdir(asking.inbox) == ["x.csv"]
    assert {path.name for path in asking.folder.iterdir()} == {"hostA", "hostB"}


@pytest.mark.parametrize("stats", [{"n": 1e308}, "x", [1]], ids=str)
async def test_odd_stats_are_no_reason_to_refuse_but_other_types_are(
    stats: object, asking: Hosts
) -> None:
    exchange = await asked(asking)
    answer(asking, exchange, RESULT, marker(exchange, stats=stats))
    if isinstance(stats, dict):
        assert await asking.delivered("x.csv") == RESULT
    else:
        await asked_again(asking, exchange)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 43)


ODD: dict[str, Callable[[Path], None]] = {
    "symlink out": lambda path: path.symlink_to("/etc/passwd"),
    "symlink to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "symlink to itself": lambda path: path.symlink_to(path.name),
    "fifo": lambda path: os.mkfifo(path),
    "folder": folder,
    "8 TiB sparse": sparse,
}


@pytest.mark.parametrize("kind", ODD)
async def test_an_answer_that_is_no_such_file_is_refused_unread(kind: str, asking: Hosts) -> None:
    exchange = await asked(asking)
    ODD[kind](asking.enriched / exchange)
    (asking.enriched / ".m").write_bytes(marker(exchange))
    (asking.enriched / ".m").rename(asking.enriched / f"{exchange}.done")
    await asked_again(asking, exchange)
    assert asking.results() == {}
    answer(asking, exchange, RESULT, marker(exchange))
    assert await asking.delivered("x.csv") == RESULT


@pytest.mark.parametrize("kind", sorted(ODD.keys() - {"folder"}))
async def test_an_answers_marker_that_is_no_file_is_refused_unread(
    kind: str, asking: Hosts
) -> None:
    exchange = await asked(asking)
    (asking.enriched / exchange).write_bytes(RESULT)
    ODD[kind](asking.enriched / ".m")
    (asking.enriched / ".m").rename(asking.enriched / f"{exchange}.done")
    await asked_again(asking, exchange)
    assert asking.results() == {}


@pytest.mark.needs("root", "mknod")
async def test_an_answer_that_is_a_device_is_refused_unread(asking: Hosts) -> None:
    exchange = await asked(asking)
    subprocess.run(["mknod", asking.enriched / exchange, "c", "1", "5"], check=True)
    (asking.enriched / ".m").write_bytes(marker(exchange))
    (asking.enriched / ".m").rename(asking.enriched / f"{exchange}.done")
    await asked_again(asking, exchange)


async def test_no_more_of_an_answer_is_copied_than_its_marker_promises(asking: Hosts) -> None:
    exchange = await asked(asking)
    promised = bytes(32 << 20)
    payload, copy = asking.enriched / exchange, asking.a.state / "collected" / exchange
    payload.write_bytes(promised)
    (asking.enriched / ".m").write_bytes(marker(exchange, promised))
    (asking.enriched / ".m").rename(asking.enriched / f"{exchange}.done")
    await until(copy.exists, "the copy's begin")
    size = copied = 0
    with payload.open("r+b") as file:
        while copy.exists() and size < 1 << 30:
            size = len(promised) + (256 << 20)
            file.truncate(size)  # sparse: it takes no time and no space
            copied = max(copied, copy.stat().st_size)
            await asyncio.sleep(0.005)
            if copied > len(promised):
                break
        file.truncate(0)
    assert copied <= len(promised)


async def test_an_answer_that_nobody_asked_for_is_left_alone(asking: Hosts) -> None:
    for name in ("01M7Y0DY3MW0QAM13YJWWJ9AFZ-x.csv", "orders.csv", "-rf", "a b", "x" * 220):
        answer(asking, name, RESULT, marker(name))
    exchange = await asked(asking)
    answer(asking, exchange, RESULT, marker(exchange))
    assert await asking.delivered("x.csv") == RESULT
    await asyncio.sleep(0.3)
    assert list(asking.results()) == ["x.csv"]
    assert len(list(asking.enriched.iterdir())) == 13
    assert asking.log.of("delivered", exchange=exchange)
    assert len(asking.log.of("delivered")) == 1


async def test_an_answer_is_delivered_once_however_often_it_comes(asking: Hosts) -> None:
    exchange = await asked(asking)
    for _ in range(3):
        answer(asking, exchange, RESULT, marker(exchange))
        assert await asking.delivered("x.csv") == RESULT
        await until(lambda: not requests(asking))
    await asyncio.sleep(0.3)
    assert list(asking.results()) == ["x.csv"]


@pytest.mark.parametrize(
    "document", [b"", b"not JSON", b"[" * 50_000, b"\xff", b"{}"], ids=range(5)
)
async def test_a_failed_answer_with_an_odd_problem_document(document: bytes, asking: Hosts) -> None:
    exchange = await asked(asking)
    answer(asking, exchange, document, marker(exchange, document, outcome="failed"))
    await until((asking.a.failed / "x.csv.problem.json").exists)
    assert (asking.a.failed / "x.csv").read_bytes() == ORIGINAL
    assert asking.results() == {}
