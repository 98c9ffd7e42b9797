"""What is seen of an exchange while B is at it: progress files, and the commands that read them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import roundtrip
from roundtrip.errors import StillWaiting
from roundtrip.protocol.progress import ProgressNote, split_progress
from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import REPOSITORY, World, wait_until

MANY = "".join(json.dumps({"key": f"k{number}"}) + "\n" for number in range(300)).encode()


def progress_files(world: World) -> list[str]:
    return [name for name in os.listdir(world.enriched) if split_progress(name)]


def begun(world: World, api: Api, name: str = "many.jsonl") -> None:
    """A file whose calls are not answered until the API is released, and its progress is shown."""
    api.hold()
    world.drop(name, MANY)
    wait_until(lambda: progress_files(world), "there is a progress file")


def reported(world: World, role: str) -> list[dict[str, Any]]:
    host = world.a if role == "a" else world.b
    done = host.run("status", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["progress"]
    return found


@pytest.mark.parametrize("role", ["a", "b"])
def test_status_tells_how_far_an_exchange_is(role: str, running: World, api: Api) -> None:
    assert reported(running, role) == []
    begun(running, api)
    [item] = reported(running, role)
    assert item["exchange"].endswith("-many.jsonl")
    assert 0 < item["done"] <= 1
    assert 0 < item["records"] <= 300
    assert item["waiting"] is None
    text = (running.a if role == "a" else running.b).run("status").stdout.decode()
    assert "under way" in text
    assert f"{item['records']} records" in text
    api.release()
    running.result("many.jsonl")
    running.wait_swept()
    assert reported(running, role) == []


def test_a_short_exchange_leaves_no_trace_of_progress(running: World) -> None:
    running.drop("x.csv", b"key\nk1\n")
    running.result("x.csv")
    assert progress_files(running) == []


def test_an_exchange_that_waits_for_tomorrow_s_quota_says_so_and_until_when(
    make_world: MakeWorld, api: Api
) -> None:
    hosts = {api.url.removeprefix("http://"): {"quota": {"day": 3}}}
    world = make_world(b={"hosts": hosts})
    world.start()
    world.drop("many.jsonl", MANY)
    [item] = wait_until(lambda: [one for one in reported(world, "a") if one["waiting"]], "it waits")
    assert "day quota of" in item["waiting"]["reason"]
    until = datetime.fromisoformat(item["waiting"]["until"]).timestamp()
    assert 0 < until - time.time() <= 86400
    done = subprocess.run(
        world.a.command("status"),
        env={**os.environ, "TZ": "Asia/Tokyo", "COLUMNS": "200"},
        capture_output=True,
        cwd=REPOSITORY,
        check=True,
    )
    [shown] = re.findall(r"waits until (\S+ \S+): day quota of", done.stdout.decode())
    assert datetime.fromisoformat(f"{shown}+09:00").timestamp() == until


def test_a_killed_agent_s_progress_goes_when_it_is_back(running: World, api: Api) -> None:
    begun(running, api)
    running.b.kill()
    [left] = progress_files(running)
    running.b.start()
    wait_until(lambda: left not in progress_files(running), "what the first life left is gone")
    api.release()
    running.result("many.jsonl")
    running.wait_swept()


def test_a_withdrawn_exchange_s_progress_goes(running: World, api: Api) -> None:
    begun(running, api)
    [pending] = running.a.folder("state/pending").iterdir()
    running.a.stop()
    for name in (f"{pending.name}.done", pending.name):
        (running.unenriched / name).unlink()
    wait_until(lambda: not progress_files(running), "it is gone")
    api.release()


async def test_a_waiting_program_is_told_once_a_second_at_most(running: World, api: Api) -> None:
    api.hold()
    client = roundtrip.AsyncClient(running.a.config)
    path = running.folder / "many.jsonl"
    path.write_bytes(MANY)
    told: list[tuple[float, ProgressNote]] = []

    def tell(note: ProgressNote) -> None:
        told.append((time.monotonic(), note))
        api.release()

    began = time.monotonic()
    exchange = await client.submit(path)
    result = await client.wait(exchange, timeout=30, on_progress=tell)
    assert result.read().count(b"\n") == 300
    times = [began, *(moment for moment, _ in told)]
    assert len(times) > 1
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(times))
    assert {note.exchange for _, note in told} == {exchange}


async def test_a_program_that_begins_to_wait_late_is_told_what_is_there(
    running: World, api: Api
) -> None:
    api.hold()
    path = running.folder / "many.jsonl"
    path.write_bytes(MANY)
    client = roundtrip.AsyncClient(running.a.config)
    exchange = await client.submit(path)
    wait_until(lambda: progress_files(running), "there is a progress file")
    told: list[ProgressNote] = []

    def tell(note: ProgressNote) -> None:
        told.append(note)
        api.release()

    result = await client.wait(exchange, timeout=30, on_progress=tell)
    assert result.read().count(b"\n") == 300
    assert told


async def test_odd_files_that_look_like_progress_disturb_nobody(world: World) -> None:
    world.a.start()
    client = roundtrip.AsyncClient(world.a.config)
    path = world.folder / "x.raw"
    path.write_bytes(b"x")
    exchange = await client.submit(path)
    wait_until((world.unenriched / f"{exchange}.done").exists, "it is published")
    os.mkfifo(world.enriched / f".{exchange}.99999999999999.progress")
    (world.enriched / f".{exchange}.7.progress").write_bytes(b"\xff" * 100_000)
    told: list[ProgressNote] = []
    with pytest.raises(StillWaiting):
        await client.wait(exchange, timeout=1.5, on_progress=told.append)
    assert told == []
    assert reported(world, "a") == []
    world.b.start()
    assert (await client.wait(exchange, timeout=20)).read() == b"x"
    world.wait_swept()


def test_send_and_wait_shows_how_far_it_is_on_a_terminal(running: World, api: Api) -> None:
    api.hold()
    path = running.folder / "many.jsonl"
    path.write_bytes(MANY)
    shown = on_terminal(running, path, lambda text: "records" in text and not api.release())
    assert re.search(r"\d+%, \d+ records", shown), shown
    assert "enriched" in shown


def on_terminal(world: World, path: Path, seen: Any) -> str:
    """Run `send --wait` with a terminal as its standard error; returns all that it showed."""
    ours, theirs = pty.openpty()
    sending = subprocess.Popen(
        world.a.command("send", path, "--wait"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
        cwd=REPOSITORY,
    )
    os.close(theirs)
    text = ""
    try:
        while piece := _read(ours):
            text += piece
            seen(text)
        assert sending.wait(20) == 0
    finally:
        sending.kill()
        sending.wait()
        os.close(ours)
    return text


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:  # EIO: the other end is closed.
        return ""
