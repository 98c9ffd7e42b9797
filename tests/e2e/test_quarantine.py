"""`roundtrip quarantine`, retention and cleaning with real agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from roundtrip.protocol.names import Namer
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import REPOSITORY, Host, World, visible, wait_until

DAY = 86400.0
STRANGE = "no exchange \x1b[2J.csv.done"


def quarantine(host: Host, action: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `roundtrip quarantine <action>` on a host."""
    command = [sys.executable, "-m", "roundtrip", "quarantine", action]
    command += ["--config", str(host.config), *arguments]
    return subprocess.run(command, capture_output=True, cwd=REPOSITORY, timeout=60, check=False)


def items(host: Host) -> list[dict[str, Any]]:
    done = quarantine(host, "list", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def old(path: Path, age: float, content: bytes = b"x") -> Path:
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_failed_original_is_sent_again_once_its_pipeline_is_there(running: World) -> None:
    world = running
    (world.outbox / "new").mkdir()
    world.drop("new/a b.xyz", b"key\n7\n")
    wait_until(lambda: len(visible(world.failed)) == 2, "the failure")
    (item,) = items(world.a)
    assert item["name"] == "a b.xyz"
    shown = quarantine(world.a, "show", item["exchange"][:20]).stdout.decode()
    assert "pipeline: new" in shown and "original_name: a b.xyz" in shown
    world.b.stop()
    steps = world.settings_b["pipelines"]["items"]["steps"]
    new = {"match": ["*.none"], "format": "csv", "steps": steps}
    world.b.configure({**world.settings_b, "pipelines": {"new": new}})
    world.b.start()
    done = quarantine(world.a, "retry", "a b.xyz")
    assert done.returncode == 0, done.stderr
    assert world.result("a b.xyz").startswith(b"key,item.label,item.size")
    world.wait_closed()
    assert visible(world.failed) == []


def test_a_refused_answer_is_evidence_when_a_gives_up(make_world: MakeWorld) -> None:
    world = make_world(a={"limits": {"attempts": 1}, "timing": {"settle": "100ms"}})
    world.a.start()
    world.drop("orders.csv", b"key\n1\n")
    (marker,) = wait_until(lambda: list(world.unenriched.glob("*.done")), "the request")
    exchange = marker.name.removesuffix(".done")
    for name, content in (
        (exchange, b"\x1b]0;evil"),
        (f"{exchange}.done", b'{"v": 1, "x": "\x1b"}'),
    ):
        (world.enriched / f".{name}").write_bytes(content)
        (world.enriched / f".{name}").rename(world.enriched / name)
    wait_until(lambda: len(visible(world.failed)) == 2, "the failure")
    shown = quarantine(world.a, "show", exchange)
    assert shown.returncode == 0 and b"\x1b" not in shown.stdout
    assert b"|.]0;evil|" in shown.stdout and b'|{"v": 1, "x": ".|' in shown.stdout
    assert b"no-usable-answer" in shown.stdout


def test_reports_are_shown_retried_and_dropped_while_the_agent_runs(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        b={"limits": {"answers": 1}, "timing": {"grace": "200ms", "settle": "100ms"}}
    )
    world.b.start()
    share = world.unenriched
    (share / STRANGE).touch()
    (share / "held.csv").write_bytes(b"key\n1\n")
    (share / "held.csv.done").touch()
    (share / "broken.csv.done").touch()
    answer = world.enriched / "held.csv.done"
    wait_until(answer.exists, "the answer")
    answer.unlink()  # The requester takes the answer away, and asks again.
    (world.enriched / "held.csv").unlink()
    (share / "held.csv.done").unlink()
    (share / "held.csv.done").touch()
    wait_until(lambda: len(visible(world.b.folder("quarantine"))) == 3, "three reports")
    kinds = {item["kind"]: item["label"] for item in items(world.b)}
    assert set(kinds) == {"held", "broken", "unusable-name"}
    shown = quarantine(world.b, "show", "held.csv").stdout.decode()
    assert "given: 1" in shown and "|key.1.|" in shown

    done = quarantine(world.b, "retry", "held.csv")
    assert done.stdout == b"held.csv: looked at afresh\n", done
    wait_until(answer.exists, "another answer")
    assert len(visible(world.b.folder("quarantine"))) == 2

    assert quarantine(world.b, "drop", kinds["unusable-name"]).returncode == 7
    assert quarantine(world.b, "drop", "--file", "--all").returncode == 0
    assert visible(share) == ["held.csv", "held.csv.done"]
    (share / "held.csv.done").unlink()
    (share / "held.csv").unlink()
    wait_until(lambda: not visible(world.enriched), "B's own names")
    left = [visible(world.b.folder(name)) for name in ("quarantine", "state/retry")]
    assert left == [[], []]


def test_a_wish_that_was_made_while_no_agent_ran_is_fulfilled_by_the_next(
    make_world: MakeWorld,
) -> None:
    world = make_world(b={"timing": {"grace": "100ms", "settle": "0s"}})
    (world.unenriched / "broken.csv.done").touch()
    world.b.start()
    wait_until(lambda: visible(world.b.folder("quarantine")), "the report")
    world.b.kill()
    done = quarantine(world.b, "retry", "broken.csv")
    assert done.returncode == 0 and b"when it starts" in done.stdout
    (world.unenriched / "broken.csv").write_bytes(b"key\n1\n")
    world.b.start()
    wait_until((world.enriched / "broken.csv.done").exists, "the answer")
    assert world.b.events("looked at afresh", "broken.csv")
    assert visible(world.b.folder("quarantine")) == [] == visible(world.b.folder("state/retry"))


def test_what_is_old_and_what_killed_lives_left_goes_also_with_once(
    make_world: MakeWorld,
) -> None:
    world = make_world(
        a={
            "archive": {"path": "archive", "keep": "7d"},
            "failed": {"path": "failed", "size": 1500},
        },
        b={"quarantine": {"path": "quarantine", "keep": "7d"}},
    )
    a, b = world.a.folder, world.b.folder
    aged = Namer(lambda: time.time() - 8 * DAY)("old.csv")
    fresh = Namer()("new.csv")
    for name in (aged, fresh):
        (a("archive") / name).touch()
    for number in (1, 2):
        old(a("failed") / f"{number}.csv", 0, b"x" * 1000)
        old(a("failed") / f"{number}.csv.problem.json", (9 - number) * DAY, b"{}")
    gone = Namer(lambda: time.time() - 2 * DAY)("gone.csv")
    (a("state/collected") / gone).write_bytes(b"half an ans")
    (a("state/tickets") / f"{gone}.json").write_bytes(b"{}")
    old(a("state/outcomes") / f"{gone}.json", 31 * DAY)
    old(a("state/submit") / ".x.0123abcd.part", 2 * DAY)
    for name in ("spool.csv", "answered.csv", "answered.csv.done"):
        (b("state/kept") / name).write_bytes(b"{}")
    (b("quarantine") / "over.csv.json").write_bytes(b'{"name": "over.csv"}')
    (b("quarantine") / ".x.json.0123abcd.part").touch()
    for host in (world.a, world.b):
        done = host.run("agent", "--once")
        assert done.returncode == 0, done.stderr
        assert host is world.b or b'"event": "cleaned"' in done.stderr
    assert visible(a("archive")) == [fresh]
    assert visible(a("failed")) == ["2.csv", "2.csv.problem.json"]
    for empty in ("inbox", "state/collected", "state/tickets", "state/outcomes", "state/submit"):
        assert os.listdir(a(empty)) == [], empty
    assert os.listdir(b("state/kept")) == [] == os.listdir(b("quarantine"))
