"""The other host's share is away: at the start, in the middle, and when another is in its place."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roundtrip.errors import ExitCode
from tests.e2e.api import Api
from tests.e2e.world import Host, World, visible, wait_until


def status(host: Host) -> Any:
    return json.loads(host.run("status", "--json").stdout)


def conditions(host: Host) -> dict[str, str]:
    return {found["key"]: found["text"] for found in status(host)["conditions"]}


@pytest.fixture
def met(world: World) -> World:
    """Two hosts that have worked together before; no agent runs."""
    world.start()
    world.a.stop()
    world.b.stop()
    return world


def put_aside(share: Path) -> Path:
    """What an unmount leaves: an empty folder where the share was."""
    aside = share.with_name("aside")
    share.rename(aside)
    share.mkdir()
    return aside


def put_back(share: Path, aside: Path) -> None:
    share.rmdir()
    aside.rename(share)


def test_an_agent_that_starts_without_its_mount_takes_files_in_and_waits(met: World) -> None:
    aside = put_aside(met.unenriched)
    met.a.start()
    met.drop("x.raw", b"content")
    wait_until(lambda: visible(met.a.folder("state/pending")), "the file is taken in")
    found = conditions(met.a)
    assert "not a share" in found["share.unenriched"] and "wait" in found["share.unenriched"]
    assert list(met.unenriched.iterdir()) == []
    put_back(met.unenriched, aside)
    met.b.start()
    assert met.result("x.raw") == b"content"
    wait_until(lambda: not conditions(met.a), "nothing is wrong any more")
    met.wait_swept()


@pytest.mark.parametrize("role", ["a", "b"])
def test_nothing_is_written_beneath_a_mount_that_went_away(running: World, role: str) -> None:
    share = running.unenriched if role == "a" else running.enriched
    host = running.a if role == "a" else running.b
    aside = put_aside(share)
    running.drop("x.raw", b"content")
    wait_until(lambda: host.events("share lost; waiting for it"), "the agent notices", 60)
    assert list(share.iterdir()) == []
    put_back(share, aside)
    assert running.result("x.raw", 60) == b"content"
    running.wait_swept(60)
    assert len(running.a.events("delivered")) == 1


def test_another_share_in_its_place_is_refused_until_the_right_one_is_back(
    met: World, tmp_path: Path
) -> None:
    aside = met.unenriched.with_name("aside")
    met.unenriched.rename(aside)
    with World(tmp_path / "others", "http://127.0.0.1:9") as others:
        shutil.copytree(others.unenriched, met.unenriched)
        done = met.a.run("agent")
        assert done.returncode == 4 and b"this is share" in done.stderr
    shutil.rmtree(met.unenriched)
    met.a.start()
    aside.rename(met.unenriched)
    met.b.start()
    met.drop("x.raw", b"content")
    assert met.result("x.raw") == b"content"


def test_an_agent_that_never_saw_the_share_says_what_to_do_and_ends(world: World) -> None:
    put_aside(world.unenriched)
    done = world.a.run("agent")
    assert done.returncode == 4
    assert b"not a share" in done.stderr and b"is the mount there?" in done.stderr


def test_a_run_for_cron_does_not_wait_for_a_mount(met: World) -> None:
    put_aside(met.unenriched)
    assert met.a.run("agent", "--once").returncode == 4


def test_the_log_says_once_since_when_a_share_is_away(met: World) -> None:
    put_aside(met.unenriched)
    met.a.start()
    wait_until(lambda: len(met.a.events("share not back")) > 1, "two looks")
    assert len(met.a.events("trouble")) == 1
    since = status(met.a)["conditions"][0]["since"]
    assert since == status(met.a)["conditions"][0]["since"]


@pytest.fixture
def once(met: World, api: Api) -> Iterator[subprocess.Popen[bytes]]:
    """Host B's agent in a run with --once, at a request whose API has not answered yet."""
    api.hold()
    met.a.start()
    met.drop("x.csv", b"key\none\n")
    wait_until(lambda: list(met.unenriched.glob("*.done")), "the request is there")
    with subprocess.Popen(met.b.command("agent", "--once"), stderr=subprocess.PIPE) as process:
        wait_until(lambda: api.waiting, "the API is called")
        yield process
        process.kill()


def test_a_run_with_once_ends_when_a_share_goes_and_does_not_come_back(
    met: World, api: Api, once: subprocess.Popen[bytes]
) -> None:
    aside = put_aside(met.enriched)
    api.release()
    _, told = once.communicate(timeout=30)
    assert once.returncode == ExitCode.SHARE
    last = told.decode().splitlines()[-1]
    assert last.startswith("roundtrip: ") and str(met.enriched) in last
    put_back(met.enriched, aside)
    assert met.b.run("agent", "--once").returncode == ExitCode.OK
    assert b"one" in met.result("x.csv")


def test_a_run_with_once_goes_on_when_a_share_comes_back_at_once(
    met: World, api: Api, once: subprocess.Popen[bytes]
) -> None:
    assert once.stderr is not None
    aside = put_aside(met.enriched)
    api.release()
    for line in once.stderr:
        if b"share lost" in line:
            put_back(met.enriched, aside)
            break
    once.communicate(timeout=30)
    assert once.returncode == ExitCode.OK
    assert b"one" in met.result("x.csv")
