"""Requests and answers that aren't what they should be: nothing wrong arrives, the rest goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import sample
from tests.e2e.world import World, visible, wait_until

ASKED = sample(Random(8), "orders.csv", 3000)


def _published(world: World) -> str:
    """Publish one request while B is away; returns the exchange's name."""
    world.a.start()
    world.drop(ASKED.name, ASKED.content)
    published = wait_until(lambda: world.a.events("published"), "A has published")
    return str(published[0]["exchange"])


def _answered(world: World, api: Api) -> str:
    """Let B answer one request while A is away; returns the exchange's name."""
    exchange = _published(world)
    world.a.kill()
    world.b.start()
    wait_until((world.enriched / f"{exchange}.done").exists, "B has answered")
    return exchange


def _over(world: World) -> None:
    assert world.result(ASKED.name) == ASKED.result
    world.wait_closed()
    world.wait_swept()
    assert visible(world.inbox) == [ASKED.name]
    assert not visible(world.failed)


@pytest.mark.parametrize("torn", [b"", ASKED.content[:-1], ASKED.content.replace(b"k", b"j")])
def test_a_torn_request_is_sent_again_and_delivered(torn: bytes, world: World) -> None:
    exchange = _published(world)
    (world.unenriched / exchange).write_bytes(torn)
    world.b.start()
    _over(world)
    assert len(world.a.events("published", exchange)) == 2
    assert [line["outcome"] for line in world.b.events("answered")] == ["resend", "enriched"]


@pytest.mark.parametrize("torn", [b"", ASKED.result[:-1], ASKED.result.upper()])
def test_a_torn_answer_is_asked_for_again_and_delivered(
    torn: bytes, world: World, api: Api
) -> None:
    exchange = _answered(world, api)
    calls = dict(api.calls)
    (world.enriched / exchange).write_bytes(torn)
    world.a.start()
    _over(world)
    assert api.calls == calls or len(world.a.events("published", exchange)) == 2


@pytest.mark.parametrize(
    "marker", [b"", b"{", b"[]", b'{"v": 0}', b"\xff", b"{" + b" " * 70_000 + b"}", b"[" * 60_000]
)
def test_an_answer_with_an_unusable_marker_is_asked_for_again(
    marker: bytes, world: World, api: Api
) -> None:
    exchange = _answered(world, api)
    (world.enriched / f"{exchange}.done").write_bytes(marker)
    world.a.start()
    _over(world)


def test_the_answer_to_another_request_is_never_taken(world: World, api: Api) -> None:
    exchange = _answered(world, api)
    path = world.enriched / f"{exchange}.done"
    marker = json.loads(path.read_bytes())
    marker["request"]["sha256"] = "0" * 64
    path.write_text(json.dumps(marker))
    world.a.start()
    _over(world)


def test_an_answer_that_nobody_asked_for_is_ignored(running: World) -> None:
    (running.enriched / "stranger").write_bytes(b"x")
    (running.enriched / "stranger.done").write_bytes(b"{}")
    running.drop(ASKED.name, ASKED.content)
    running.result(ASKED.name)
    assert visible(running.inbox) == [ASKED.name]


def test_an_answer_that_stays_torn_ends_in_failed_not_in_the_inbox(
    make_world: MakeWorld, api: Api
) -> None:
    world = make_world(a={"limits": {"attempts": 2}, "timing": {"settle": 0.1}})
    exchange = _answered(world, api)
    (world.enriched / exchange).write_bytes(b"torn")
    api.hold()
    world.a.start()
    wait_until(lambda: len(world.a.events("published")) == 2, "A has published again")
    world.a.kill()
    api.release()
    wait_until(lambda: len(world.b.events("answered")) == 2, "B has answered again")
    (world.enriched / exchange).write_bytes(b"torn again")
    world.a.start()
    wait_until((world.failed / "orders.csv.problem.json").exists, "the problem document")
    world.wait_closed()
    assert (world.failed / "orders.csv").read_bytes() == ASKED.content
    assert not visible(world.inbox)


@pytest.mark.parametrize("name, content", [("x.json", b"{"), ("x.json", b""), ("x.jsonl.xml", b"")])
def test_what_can_t_be_enriched_comes_back_with_a_problem_document(
    name: str, content: bytes, running: World
) -> None:
    running.drop(name, content)
    running.drop(ASKED.name, ASKED.content)
    problem = running.failed / f"{name}.problem.json"
    wait_until(problem.exists, "the problem document")
    document = json.loads(problem.read_bytes())
    assert {"type", "title", "detail", "instance"} <= document.keys()
    assert (running.failed / name).read_bytes() == content
    assert running.result(ASKED.name) == ASKED.result
    running.wait_closed()


def test_failing_twice_under_one_name_overwrites_nothing(running: World) -> None:
    for content in (b"{1", b"{2"):
        before = len(visible(running.failed))
        running.drop("x.json", content)
        wait_until(lambda: len(visible(running.failed)) == before + 2, "two more")  # noqa: B023
    names = visible(running.failed)
    originals = [name for name in names if not name.endswith(".problem.json")]
    assert {f"{name}.problem.json" for name in originals} | set(originals) == set(names)
    assert sorted((running.failed / name).read_bytes() for name in originals) == [b"{1", b"{2"]


def test_hostile_names_on_the_share_stop_nobody(running: World) -> None:
    hostile = ["..done", "...done", "x" * 250 + ".done", "new\nline.done", "\x1b[31m.done",
               "\u202ex.done", " .done", "-rf.done", "a.done.done"]  # fmt: skip
    for name in hostile:
        (running.unenriched / name).write_bytes(b"")
    (running.unenriched / "folder.done").mkdir()
    (running.unenriched / "link.done").symlink_to("/etc/passwd")
    (running.unenriched / "link").symlink_to("/etc/passwd")
    running.drop(ASKED.name, ASKED.content)
    assert running.result(ASKED.name) == ASKED.result


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo"])
def test_a_payload_that_is_no_file_is_answered_failed(kind: str, world: World) -> None:
    world.b.start()
    payload = world.unenriched / "odd.raw"
    if kind == "symlink":
        payload.symlink_to("/etc/hostname")
    elif kind == "folder":
        payload.mkdir()
    else:
        os.mkfifo(payload)
    (world.unenriched / "odd.raw.done").touch()
    wait_until((world.enriched / "odd.raw.done").exists, "an answer")
    marker = json.loads((world.enriched / "odd.raw.done").read_bytes())
    assert marker["outcome"] == "failed"
    assert b"root:" not in (world.enriched / "odd.raw").read_bytes()


def test_a_share_that_is_swapped_while_the_agents_run_is_not_written_to(running: World) -> None:
    away = running.folder / "away"
    running.unenriched.rename(away)
    running.unenriched.mkdir()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: running.b.events("share lost; waiting for it"), "B has seen it")
    assert not list(running.unenriched.iterdir())
    running.unenriched.rmdir()
    away.rename(running.unenriched)
    _over_late(running)


def _over_late(world: World) -> None:
    assert world.result(ASKED.name, 60) == ASKED.result


def test_a_request_that_the_user_takes_back_is_withdrawn(running: World, api: Api) -> None:
    api.hold()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: api.waiting, "B is asking")
    running.a.kill()
    for path in _pending(running):
        path.unlink()
    running.a.start()
    wait_until(lambda: not visible(running.unenriched), "A has dropped its request")
    api.release()
    running.wait_closed()
    assert not visible(running.inbox)


def _pending(world: World) -> list[Path]:
    return list(world.a.folder("state/pending").iterdir())
