"""What every user relies on: a file goes out plain and comes back enriched, once, bit for bit."""

from __future__ import annotations

import os
import re
from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import FORMATS, sample
from tests.e2e.world import World, wait_until

MI = 1024 * 1024


@pytest.mark.parametrize("extension", FORMATS)
def test_a_file_comes_back_as_it_should_bit_for_bit(extension: str, running: World) -> None:
    random = Random(extension)
    samples = [sample(random, f"{size}.{extension}", size) for size in (1, 700, 40_000, 3 * MI)]
    for asked in samples:
        running.drop(asked.name, asked.content)
    for asked in samples:
        assert running.result(asked.name) == asked.result
    running.wait_closed()
    running.wait_swept()


def test_an_empty_file_of_raw_bytes_comes_back_empty(running: World) -> None:
    (running.outbox / "empty.raw").touch()
    assert running.result("empty.raw") == b""


def test_files_that_were_there_before_the_agents_are_taken(world: World) -> None:
    asked = sample(Random(1), "early.csv", 900)
    world.drop(asked.name, asked.content)
    folder = world.outbox / "turn"
    folder.mkdir()
    (folder / "x.csv").write_bytes(b"abc")
    world.start()
    assert world.result("early.csv") == asked.result
    assert world.result("x.csv") != b"abc"


def test_a_folder_named_after_a_pipeline_selects_it(running: World) -> None:
    (running.outbox / "echo").mkdir()
    running.drop("echo/orders.csv", b"not, looked, at")
    assert running.result("orders.csv") == b"not, looked, at"


def test_a_result_never_overwrites_another(running: World) -> None:
    contents = [f"number {number}".encode() for number in range(3)]
    for content in contents:
        (running.folder / "orders.raw").write_bytes(content)
        done = running.a.run("send", running.folder / "orders.raw", "--wait")
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in running.inbox.iterdir())
    assert len(names) == 3
    assert "orders.raw" in names
    ulid = r"orders\.[0-7][0-9A-HJKMNP-TV-Z]{25}\.raw"
    assert sum(bool(re.fullmatch(ulid, name)) for name in names) == 2
    assert sorted(path.read_bytes() for path in running.inbox.iterdir()) == contents


def test_a_key_is_asked_for_once_in_a_file(running: World, api: Api) -> None:
    running.drop("twice.jsonl", b'{"key":"a"}\n{"key":"b"}\n{"key":"a"}\n')
    running.result("twice.jsonl")
    assert api.calls == {"item:a": 1, "item:b": 1}


def test_a_record_that_the_api_does_not_know_is_told_in_the_record(running: World) -> None:
    running.drop("some.jsonl", b'{"key":"missing1"}\n{"key":"b"}\n')
    first, second = running.result("some.jsonl").splitlines()
    assert b"404" in first
    assert b"label" in second
    wait_until(lambda: running.a.events("delivered"), "it is logged")
    assert running.a.events("delivered")[0]["outcome"] == "partial"


def test_the_original_is_archived_and_the_archive_can_be_off(make_world: MakeWorld) -> None:
    for settings, kept in ({}, 1), ({"archive": "off"}, 0):
        world = make_world(a=settings)
        world.start()
        world.drop("x.raw", b"content")
        world.result("x.raw")
        world.wait_closed()
        wait_until(lambda: world.a.events("closed"), "A has closed it")  # noqa: B023
        archive = world.a.folder("archive")
        found = list(archive.iterdir()) if archive.exists() else []
        assert [path.read_bytes() for path in found] == [b"content"] * kept


def test_hostile_original_names_come_back_as_they_were(running: World) -> None:
    names = ["sp ace.raw", "ünï✓.raw", "new\nline.raw", "\x1b[31mred.raw", "\u202egpj.raw",
             "-rf.raw", "x" * 251 + ".raw", "a.done.raw", "CON.raw", "%2e%2e.raw"]  # fmt: skip
    for name in names:
        (running.outbox / name).write_bytes(name.encode())
    for name in names:
        assert running.result(name) == name.encode()


def test_a_name_that_is_not_utf_8_comes_back_as_it_was(running: World) -> None:
    raw = b"\xff\xfe.raw"
    (running.outbox / raw.decode(errors="surrogateescape")).write_bytes(b"x")
    result = running.inbox / raw.decode(errors="surrogateescape")
    wait_until(result.exists, "the result")


def test_what_is_no_regular_file_is_left_where_it_is(running: World) -> None:
    (running.outbox / "link.raw").symlink_to("/etc/passwd")
    os.mkfifo(running.outbox / "pipe.raw")
    running.drop("real.raw", b"real")
    assert running.result("real.raw") == b"real"
    assert {path.name for path in running.outbox.iterdir()} == {"link.raw", "pipe.raw"}
    assert [path.name for path in running.inbox.iterdir()] == ["real.raw"]
