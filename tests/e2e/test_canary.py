"""Real agents: canaries, deadlines, versions of the future, and clocks a day apart."""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import CANARY, Namer
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import Host, World, visible, wait_until

FAST = {"heartbeat": 0.3, "settle": 0.1, "rescan": 2}
QUICK: dict[str, Any] = {"timing": FAST, "log": {"level": "debug"}}
CSV = b"key\n1\n"


def conditions(host: Host) -> dict[str, dict[str, Any]]:
    """What `status` says is wrong."""
    report = json.loads(host.run("status", "--json").stdout)
    return {each["key"]: each for each in report["conditions"]}


def peer(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("status", "--json").stdout)["peer"]
    return found


def health(host: Host) -> dict[str, dict[str, Any]]:
    """The same from the agent's own file: cheaper to wait for."""
    try:
        text = (host.folder("state") / f"health-{host.role}.json").read_text()
    except FileNotFoundError:
        return {}
    return {each["key"]: each for each in json.loads(text)["conditions"]}


def canaries_back(world: World) -> int:
    return len(world.a.events("canary back"))


def traces(world: World) -> list[str]:
    return sorted(str(path.relative_to(world.folder)) for path in world.folder.rglob(f"*{CANARY}*"))


def test_canaries_come_back_beside_the_work_and_are_no_part_of_it(make_world: MakeWorld) -> None:
    world = make_world(a=QUICK | {"canary": 0.4}, b=QUICK)
    world.start()
    world.drop("orders.csv", CSV)
    wait_until(lambda: canaries_back(world) >= 3, "three canaries are back")
    world.result("orders.csv")
    assert visible(world.inbox) == ["orders.csv"] and visible(world.failed) == []
    wait_until(lambda: visible(world.a.folder("archive")), "it is archived")
    (archived,) = visible(world.a.folder("archive"))
    assert archived.endswith("-orders.csv")
    told = [line for line in world.a.lines() + world.b.lines() if CANARY in str(line)]
    assert told and {line["level"] for line in told} == {"debug"}, "nobody reads of canaries"


def test_a_dead_b_is_an_alarm_within_two_intervals_and_ends_with_b_s_return(
    make_world: MakeWorld,
) -> None:
    world = make_world(a=QUICK | {"canary": 0.5}, b=QUICK)
    world.a.start()
    wait_until(lambda: "canary" in health(world.a), "the alarm", pause=0.05)
    wait_until(
        lambda: "published, B has not answered" in health(world.a)["canary"]["text"], "its reason"
    )
    found = conditions(world.a)
    assert found["canary"]["severity"] == "alarm"
    wait_until(lambda: "peer" in health(world.a), "B's silence is a warning", pause=0.05)
    world.b.start()
    wait_until(lambda: not health(world.a), "all is well again", pause=0.05)
    assert canaries_back(world) >= 1


def test_agents_killed_again_and_again_leave_no_canary_behind(make_world: MakeWorld) -> None:
    world = make_world(a=QUICK | {"canary": 0.05}, b=QUICK)
    world.start()
    for number in range(4):
        victim = (world.a, world.b)[number % 2]
        before = len(world.a.events("published"))
        wait_until(lambda before=before: len(world.a.events("published")) > before, "a canary")
        victim.kill()
        victim.start()
    before = canaries_back(world)
    wait_until(lambda: canaries_back(world) > before, "canaries come back")
    world.a.stop()
    world.a.configure({**json.loads(world.a.config.read_text()), "canary": "off"})
    world.a.start()
    wait_until(lambda: not traces(world), "no trace of a canary is left")
    assert visible(world.inbox) == visible(world.failed) == []
    assert visible(world.a.folder("archive")) == []


def test_a_deadline_ends_what_nobody_answers(make_world: MakeWorld) -> None:
    world = make_world(a=QUICK, b=QUICK)
    world.a.start()
    file = world.folder / "orders.csv"
    file.write_bytes(CSV)
    done = world.a.run("send", "--wait", "--deadline", "1500ms", file)
    assert done.returncode != 0
    assert b"No answer came in time" in done.stderr
    assert visible(world.failed) == ["orders.csv", "orders.csv.problem.json"]
    problem = json.loads((world.failed / "orders.csv.problem.json").read_text())
    assert problem["type"] == "tag:roundtrip,2026:deadline"
    wait_until(lambda: not visible(world.unenriched), "the request is dropped")
    world.b.start()
    world.wait_swept()
    assert visible(world.inbox) == []


def test_a_deadline_is_kept_by_an_agent_that_was_off_meanwhile(make_world: MakeWorld) -> None:
    world = make_world(a={"timing": FAST | {"deadline": "1s"}}, b=QUICK)
    world.a.start()
    world.drop("orders.csv", CSV)
    wait_until(lambda: visible(world.unenriched), "it is published")
    world.a.kill()
    wait_until(lambda: "orders.csv.done" not in visible(world.unenriched), "time")
    world.a.start()
    wait_until(lambda: visible(world.failed), "it fails at its deadline")
    wait_until(lambda: not visible(world.unenriched), "the request is dropped")


def test_a_deadline_that_is_none_is_refused_at_once(world: World) -> None:
    done = world.a.run("send", "--deadline=-1h", __file__)
    assert done.returncode == 2 and b"--deadline" in done.stderr


def test_b_answers_a_request_of_the_future_with_what_to_do(make_world: MakeWorld) -> None:
    world = make_world(b=QUICK)
    world.b.start()
    name = Namer()("orders.csv")
    (world.unenriched / name).write_bytes(CSV)
    marker = {"v": 2, "exchange": name, "original_name": "orders.csv", "hash": {"blake3": "0"}}
    _rename_into(world.unenriched / f"{name}.done", marker)
    wait_until((world.enriched / f"{name}.done").exists, "an answer")
    answer = json.loads((world.enriched / f"{name}.done").read_text())
    problem = json.loads((world.enriched / name).read_text())
    assert (answer["v"], answer["outcome"]) == (1, "failed")
    assert problem["type"] == "tag:roundtrip,2026:version"
    assert "speaks protocol 2" in problem["detail"] and "upgrade host B" in problem["detail"]


def test_a_newer_b_is_told_and_its_answers_wait_until_a_can_read_them(
    make_world: MakeWorld,
) -> None:
    world = make_world(a=QUICK)
    world.a.start()
    _life_sign(world, version="9.0.0", protocol=2, features=["telepathy"])
    world.drop("orders.csv", CSV)
    wait_until(lambda: len(visible(world.unenriched)) == 2, "it is published")
    name = visible(world.unenriched)[0]
    request = json.loads((world.unenriched / f"{name}.done").read_text())
    digest = {"size": len(CSV), "sha256": hashlib.sha256(CSV).hexdigest()}
    answer = {
        "v": 2, "exchange": name, "outcome": "enriched", **digest,
        "request": {key: request[key] for key in ("size", "sha256", "attempt")},
    }  # fmt: skip
    (world.enriched / name).write_bytes(CSV)
    _rename_into(world.enriched / f"{name}.done", answer)
    wait_until(lambda: {"answers", "protocol"} <= set(health(world.a)), "it is told", pause=0.05)
    found = conditions(world.a)
    assert found["answers"]["severity"] == found["protocol"]["severity"] == "alarm"
    assert "upgrade host A" in found["answers"]["text"]
    world.a.stop()
    world.a.start()
    wait_until(lambda: "answers" in health(world.a), "a new life tells it as well", pause=0.05)
    marker = json.loads((world.unenriched / f"{name}.done").read_text())
    assert marker["attempt"] == 1 and not world.a.events("answer refused")
    # The upgrade, as it were: what A reads is version 1 now, with keys that it does not know.
    (world.enriched / f"{name}.done").unlink()
    _rename_into(world.enriched / f"{name}.done", answer | {"v": 1, "mood": {"good": [True]}})
    assert world.result("orders.csv") == CSV
    _life_sign(world, version="0.9.9", protocol=1)
    wait_until(lambda: set(health(world.a)) == {"version"}, "only the versions differ", pause=0.05)
    assert conditions(world.a)["version"]["severity"] == "notice"


def _rename_into(path: Path, fields: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.tmp")
    part.write_text(json.dumps(fields))
    part.rename(path)


def _life_sign(world: World, **fields: Any) -> None:
    internal = world.enriched / ".roundtrip"
    for old in internal.glob("alive-b-*"):
        old.unlink()
    name = f"alive-b-{Namer()('x')[:26]}.json"
    _rename_into(internal / name, {"v": 1, "time": timestamp(time.time()), **fields})


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("days", [-1, 1])
def test_agents_a_day_apart_work_as_if_they_were_not(make_world: MakeWorld, days: int) -> None:
    """B's whole process lives in another day (libfaketime, LD_PRELOAD); the disks are A's day."""
    retention = {"archive": {"path": "archive", "keep": "1h"}}
    world = make_world(
        a=QUICK | {"canary": 0.5} | retention | {"timing": FAST | {"deadline": "1h"}}, b=QUICK
    )
    world.a.start(ready=False)
    # Not by `faketime` itself, which forks: a kill would reach it and leave the agent behind.
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    world.b.start(ready=False, under=("env", f"LD_PRELOAD={library}", f"FAKETIME={days:+d}d"))
    for host in (world.a, world.b):
        host.wait_ready()
    for number in range(5):
        world.drop(f"orders{number}.csv", CSV)
    for number in range(5):
        world.result(f"orders{number}.csv")
    wait_until(lambda: canaries_back(world) >= 2, "canaries come back")
    wait_until(lambda: "clock" in health(world.a), "the skew is told", pause=0.05)
    found = peer(world.a)
    assert found["skew"] == pytest.approx(days * 86400, abs=5)
    assert 0 <= found["age"] < 5, "its age is told by one clock"
    assert "peer" not in health(world.a)
    assert "harmless" in conditions(world.a)["clock"]["text"]
    marker_days = [_created(line["time"]) for line in world.b.events("answered")]
    assert abs(marker_days[0] - time.time() - days * 86400) < 3600, "B really was in another day"
    assert len(visible(world.a.folder("archive"))) == 5
    assert visible(world.failed) == []
    assert not world.a.events("answer refused") and not world.a.events("expired")
    world.a.stop()
    world.b.stop()
    assert os.listdir(world.b.folder("quarantine")) == []


@pytest.mark.parametrize("days", [-1, 1])
def test_b_tells_the_oldest_exchange_s_age_by_its_own_clock(world: World, days: int) -> None:
    name = Namer(clock=lambda: time.time() + days * 86400)("orders.csv")
    (world.unenriched / name).write_bytes(CSV)
    oldest = json.loads(world.b.run("status", "--json").stdout)["oldest"]
    assert oldest["exchange"] == name
    assert 0 <= oldest["age"] < 30


def _created(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
