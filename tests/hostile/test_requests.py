"""What a stranger can put into Unenriched: B answers or reports it, and the others go on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.intake.hosts import Hosts, agents, until

PAYLOAD = b"a,b\n1,2\n"
SECRET = b"root:x:0:0"


def marker(exchange: Any = "bad", payload: bytes = PAYLOAD, **fields: Any) -> bytes:
    """A good marker with some of its fields changed."""
    good = {
        "v": 1,
        "exchange": exchange,
        "original_name": "x.csv",
        "size": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    return json.dumps({**good, **fields}).encode()


MARKERS: dict[str, bytes] = {
    "not JSON": b"hello",
    "truncated": marker()[:-10],
    "binary": bytes(range(256)),
    "not UTF-8": b'{"v": 1, "original_name": "\xff"}',
    "UTF-16": '{"v": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + marker(),
    "only a space": b" ",
    "NUL bytes": b"\0" * 100,
    "too large": marker(original_name="x" * 70_000),
    "deep arrays": b"[" * 60_000,
    "deep objects": b'{"v":' * 10_000,
    "a list": b"[1]",
    "null": b"null",
    "a number": b"1",
    "another exchange's": marker("other"),
    "version 2": marker(v=2),
    "version true": marker(v=True),
    "no version": json.dumps({"original_name": "x.csv"}).encode(),
    "huge integer": b'{"v": 1, "attempt": ' + b"9" * 5000 + b"}",
    "integer over 63 bits": marker(attempt=1 << 63),
    "negative": marker(size=-1),
    "NaN": b'{"v": 1, "attempt": NaN}',
    "infinite": b'{"v": 1, "attempt": 1e999}',
    "size as text": marker(size="8"),
    "name as list": marker(original_name=["x"]),
    "exchange as number": marker(exchange=7),
    "digest too short": marker(sha256="00"),
    "digest in capitals": marker(sha256="A" * 64),
    "digest without size": marker(size=None),
    "sender as text": marker(sender="me"),
    "duplicate version": b'{"v": 1, "v": 2}',
}


def place(hosts: Hosts, name: str, payload: bytes, content: bytes) -> None:
    """Do what a ten-line shell script does."""
    (hosts.unenriched / name).write_bytes(payload)
    (hosts.unenriched / f"{name}.done").write_bytes(content)


async def answer_of(hosts: Hosts, name: str = "bad") -> dict[str, Any]:
    """Wait for B's answer; returns its marker."""
    path = hosts.enriched / f"{name}.done"
    await until(path.exists, f"an answer to {name}")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


async def others_go_on(hosts: Hosts) -> None:
    """A good exchange is answered, nothing was written elsewhere, and nothing was a defect."""
    place(hosts, "good", PAYLOAD, marker("good"))
    assert (await answer_of(hosts, "good"))["outcome"] == "enriched"
    assert (hosts.enriched / "good").read_bytes() == PAYLOAD
    known = {"hostA", "hostB"}
    assert {path.name for path in hosts.folder.iterdir()} == known
    places = {"roundtrip.yaml", "Unenriched", "state", "quarantine"}
    assert {path.name for path in hosts.b.root.iterdir()} == places
    for path in (*hosts.enriched.rglob("*"), *hosts.b.root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
            assert SECRET not in path.read_bytes(), f"{path} has what lies outside"
    assert hosts.log.defects == []
    for line in hosts.log.lines:
        assert line.isascii() and line.isprintable()


@pytest.mark.parametrize("kind", MARKERS)
async def test_an_unusable_marker_is_answered_with_a_reason(kind: str, hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        place(hosts, "bad", PAYLOAD, MARKERS[kind])
        answer = await answer_of(hosts)
        assert answer["outcome"] == "failed"
        problem = json.loads((hosts.enriched / "bad").read_bytes())
        newer = kind in ("version 2", "duplicate version")
        title = "request speaks a newer protocol" if newer else "request's marker is unusable"
        assert problem["title"] == f"The {title}"
        assert len(problem["detail"]) < 400
        [refused] = hosts.log.of("refused", exchange="bad")
        assert refused["reason"] == problem["detail"]
        await others_go_on(hosts)


HOSTILE_TEXTS = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "\0",
    "a\nb",
    "x" * 60_000,
    "\u202egpj.exe",
    "\x1b[2J",
    "\ud800",
    "{0.__class__}",
    "${HOME}",
    "%s%n",
    "-rf",
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
@pytest.mark.parametrize("field", ["original_name", "pipeline", "deadline", "traceparent"])
async def test_hostile_texts_in_a_good_marker_do_nothing(
    field: str, text: str, hosts: Hosts
) -> None:
    async with agents(hosts, "b"):
        place(hosts, "bad", PAYLOAD, marker("bad", PAYLOAD, **{field: text}))
        assert (await answer_of(hosts))["outcome"] in ("enriched", "failed")
        await others_go_on(hosts)


async def test_a_sparse_marker_of_a_terabyte_is_not_read(hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        (hosts.unenriched / "bad").write_bytes(PAYLOAD)
        with (hosts.unenriched / "bad.done").open("wb") as file:
            file.truncate(1 << 40)
        assert (await answer_of(hosts))["outcome"] == "failed"
        await others_go_on(hosts)


def directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def device(path: Path) -> None:
    subprocess.run(["mknod", path, "c", "1", "5"], check=True)


ODD: dict[str, Callable[[Path], None]] = {
    "symlink out": lambda path: path.symlink_to("/etc/passwd"),
    "symlink to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "dangling symlink": lambda path: path.symlink_to("/nonexistent"),
    "symlink to itself": lambda path: path.symlink_to(path.name),
    "symlink to another's": lambda path: path.symlink_to("../Enriched"),
    "fifo": lambda path: os.mkfifo(path),
    "folder": directory,
}
ODD_PARAMETERS = [
    *(pytest.param(make, id=kind) for kind, make in ODD.items()),
    pytest.param(device, marks=pytest.mark.needs("root", "mknod"), id="device"),
]


@pytest.mark.parametrize("make", ODD_PARAMETERS)
async def test_a_payload_that_is_no_file_is_refused_unread(
    make: Callable[[Path], None], hosts: Hosts
) -> None:
    async with agents(hosts, "b"):
        make(hosts.unenriched / "bad")
        (hosts.unenriched / "bad.done").write_bytes(marker())
        assert (await answer_of(hosts))["outcome"] == "failed"
        problem = json.loads((hosts.enriched / "bad").read_bytes())
        assert problem["title"] == "The payload is not a regular file"
        await others_go_on(hosts)


@pytest.mark.parametrize("make", ODD_PARAMETERS)
async def test_a_marker_that_is_no_file_is_refused_unread(
    make: Callable[[Path], None], hosts: Hosts
) -> None:
    async with agents(hosts, "b"):
        (hosts.unenriched / "bad").write_bytes(PAYLOAD)
        make(hosts.unenriched / "bad.done")
        assert (await answer_of(hosts))["outcome"] == "failed"
        problem = json.loads((hosts.enriched / "bad").read_bytes())
        assert problem["title"] == "The request's marker is not a regular file"
        await others_go_on(hosts)


async def test_a_marker_without_a_payload_is_reported(hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        (hosts.unenriched / "bad.done").write_bytes(marker())
        await until((hosts.b.quarantine / "bad.json").exists, "a report")
        await others_go_on(hosts)
        (hosts.unenriched / "bad").write_bytes(PAYLOAD)  # late, but there
        assert (await answer_of(hosts))["outcome"] == "enriched"


@pytest.mark.parametrize("claim", [{"size": 7}, {"sha256": "0" * 64}])
async def test_a_payload_that_is_not_what_its_marker_says_is_wanted_again(
    claim: dict[str, Any], hosts: Hosts
) -> None:
    async with agents(hosts, "b"):
        place(hosts, "bad", PAYLOAD, marker(**claim))
        answer = await answer_of(hosts)
        assert answer["outcome"] == "resend"
        asked = {"size": len(PAYLOAD), "sha256": hashlib.sha256(PAYLOAD).hexdigest(), **claim}
        assert answer["request"] == {**asked, "attempt": 1}
        await others_go_on(hosts)


async def test_a_sparse_payload_that_its_marker_does_not_promise_is_not_read(hosts: Hosts) -> None:
    """4 TiB would keep a thread busy for half an hour; the size alone says that it is wrong."""
    async with agents(hosts, "b"):
        with (hosts.unenriched / "bad").open("wb") as file:
            file.truncate(1 << 42)
        (hosts.unenriched / "bad.done").write_bytes(marker())
        assert (await answer_of(hosts))["outcome"] == "resend"
        await others_go_on(hosts)


async def test_a_payload_over_the_limit_is_refused(hosts: Hosts) -> None:
    hosts.configure(limits={"attempts": 3, "payload": "1MB"})
    async with agents(hosts, "b"):
        with (hosts.unenriched / "bad").open("wb") as file:
            file.truncate(1 << 42)
        (hosts.unenriched / "bad.done").write_bytes(b"")
        assert (await answer_of(hosts))["outcome"] == "failed"
        await others_go_on(hosts)


async def test_a_payload_that_grows_all_the_time_stops_nobody(hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        place(hosts, "bad", PAYLOAD, b"")
        with (hosts.unenriched / "bad").open("ab", buffering=0) as writer:
            for _ in range(40):
                writer.write(b"more")
                await asyncio.sleep(0.01)
        await others_go_on(hosts)
        await answer_of(hosts)


NAMES = [
    b"-rf.done",
    b"..x.done",
    b"....done",
    b"a b.done",
    b"a\nb.done",
    b"x" * 250 + b".done",
    b"x" * 201 + b".done",
    "a\u202eb.done".encode(),
    b"\x1b[2J.done",
    b"\xff\xfe.done",
    b"~.done",
    b"$(x).done",
    b"x.done.done",
    b"%2e%2e.done",
    b"_.done",
    "ü.done".encode(),
]


async def test_hostile_names_are_reported_once_and_stop_nobody(hosts: Hosts) -> None:
    folder = os.fsencode(hosts.unenriched)

    def add(name: bytes) -> None:
        with open(folder + b"/" + name.removesuffix(b".done"), "wb") as file:
            file.write(PAYLOAD)
        with open(folder + b"/" + name, "wb"):
            pass

    for name in NAMES[:8]:
        add(name)
    async with agents(hosts, "b"):
        for name in NAMES[8:]:
            add(name)
        visible = [name for name in NAMES if not name.startswith(b".")]
        await until(lambda: len(os.listdir(hosts.b.quarantine)) == len(visible), "all reports")
        await others_go_on(hosts)
    reports = [json.loads(path.read_bytes()) for path in hosts.b.quarantine.iterdir()]
    assert {os.fsencode(report["name"]) for report in reports} == set(visible)
    assert len(hosts.log.of("quarantined")) == len(visible)
    assert set(NAMES) <= set(os.listdir(folder))
    names = {path.name for path in hosts.enriched.iterdir()}
    assert names == {".roundtrip", "good", "good.done"}


async def test_a_name_of_200_bytes_is_answered(hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        place(hosts, "x" * 200, PAYLOAD, b"")
        assert (await answer_of(hosts, "x" * 200))["outcome"] == "enriched"


@pytest.mark.parametrize("name", ["bad", "bad.done"])
@pytest.mark.parametrize("make", [directory, os.mkfifo])
async def test_what_stands_where_the_answer_should_be_stops_only_that_one(
    make: Callable[[Path], None], name: str, hosts: Hosts
) -> None:
    make(hosts.enriched / name)
    async with agents(hosts, "b"):
        place(hosts, "bad", PAYLOAD, marker())
        await others_go_on(hosts)


async def test_a_flood_of_bad_ones_is_worked_off(hosts: Hosts) -> None:
    async with agents(hosts, "b"):
        for number in range(200):
            place(hosts, f"bad{number}", PAYLOAD, b"not json")
        await others_go_on(hosts)
        await until(lambda: len(list(hosts.enriched.glob("bad*.done"))) == 200, "200 answers")
