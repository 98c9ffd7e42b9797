"""Deliveries of a real agent: killed, restarted, stopped, configured otherwise."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.deliver.conftest import MakeWorld
from tests.deliver.postbox import free_port
from tests.e2e.world import REPOSITORY, World, visible, wait_until

NOTE = 'echo "$ROUNDTRIP_ID" >> "$0"'
"""A script for `sh -c`: notes the delivery's id in the file that is its first argument."""


def noting(file: Path, script: str = NOTE) -> dict[str, Any]:
    return {"exec": ["/bin/sh", "-c", script, str(file)], "retry": {"min_delay": "50ms"}}


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def due(world: World, delivery: str) -> list[str]:
    return visible(world.a.folder(f"state/deliveries/{delivery}"))


def deliveries(world: World, action: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "roundtrip", "deliveries", action]
    command += ["--config", str(world.a.config), *arguments]
    return subprocess.run(command, capture_output=True, check=False, cwd=REPOSITORY)


def conditions(world: World) -> dict[str, str]:
    report = json.loads(world.a.run("status", "--json").stdout)
    return {item["key"]: item["text"] for item in report["conditions"]}


def exchange_of(world: World, event: str = "delivered") -> str:
    found = wait_until(lambda: world.a.events(event), event)[-1]["exchange"]
    assert isinstance(found, str)
    return found


def test_a_program_is_run_for_each_result_that_arrives(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = 'printf "%s %s\\n" "$1" "$(cat "$1")" >> "$0"'
    world = make_world({"tell": {"exec": ["sh", "-c", script, str(out), "{path}"]}})
    world.start()
    for name in ("one.json", "two.pdf"):
        world.drop(name, name.encode())
    wait_until(lambda: len(world.a.events("delivery done")) == 2, "both are delivered")
    lines = sorted(out.read_text().splitlines())
    assert lines == [f"{world.inbox / name} {name}" for name in ("one.json", "two.pdf")]
    assert due(world, "tell") == ["dead"]


def test_an_agent_killed_in_a_delivery_delivers_again_with_the_same_id(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out, gate = tmp_path / "out", tmp_path / "gate"
    world = make_world(
        {"tell": noting(out, NOTE + f"; while [ ! -e {gate} ]; do sleep 0.05; done")}
    )
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: noted(out), "the program runs")
    exchange = exchange_of(world)
    world.a.kill()
    assert f"{exchange}.json" in due(world, "tell")
    gate.touch()
    world.a.start()
    wait_until(lambda: world.a.events("delivery done"), "it is delivered after all")
    assert noted(out) == [f"{exchange}/tell"] * 2
    assert due(world, "tell") == ["dead"]


def test_an_agent_that_is_stopped_ends_a_program_soon_and_its_delivery_stays_due(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stubborn = NOTE + "; trap '' TERM; echo $$ >> $0.pid; while :; do sleep 0.05; done"
    world = make_world({"tell": noting(out, stubborn)})
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: noted(Path(f"{out}.pid")), "the program runs")
    began = time.monotonic()
    assert world.a.stop() == 0
    assert time.monotonic() - began < 10.0
    (pid,) = noted(Path(f"{out}.pid"))
    assert not Path(f"/proc/{pid}").exists()
    assert len(due(world, "tell")) == 3
    entry = json.loads(
        (world.a.folder("state/deliveries/tell") / due(world, "tell")[0]).read_text()
    )
    assert entry["attempts"] == 0


def test_a_delivery_that_hangs_delays_no_other(make_world: MakeWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world = make_world({"hangs": {"exec": ["sleep", "600"]}, "tell": noting(out)})
    world.start()
    names = [f"{number}.csv" for number in range(8)]
    for name in names:
        world.drop(name, b"content")
    wait_until(lambda: len(noted(out)) == len(names), "the other delivery is done")
    for name in names:
        world.result(name)
    wait_until(lambda: len(world.a.events("delivery done")) == len(names), "and logged")


def test_content_outlives_the_file_in_the_inbox(make_world: MakeWorld, tmp_path: Path) -> None:
    out, gate = tmp_path / "out", tmp_path / "gate"
    script = f'[ -e {gate} ] && cat "$1" > "$0"'
    world = make_world(
        {"tell": {"exec": ["sh", "-c", script, str(out), "{content}"],
                  "retry": {"min_delay": "50ms", "max_delay": "100ms"}}}
    )  # fmt: skip
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: world.a.events("delivery failed"), "it fails at first")
    (world.inbox / "one.json").unlink()
    gate.touch()
    wait_until(lambda: world.a.events("delivery done"), "it is delivered")
    assert out.read_bytes() == b"content"


def test_only_wanted_ends_are_delivered(make_world: MakeWorld, tmp_path: Path) -> None:
    outs = {name: tmp_path / name for name in ("pdf", "failed", "other")}
    world = make_world(
        {
            "pdf": {**noting(outs["pdf"]), "pipelines": ["invoices"], "match": ["*.PDF"]},
            "failed": {**noting(outs["failed"]), "on": ["failed"]},
            "other": {**noting(outs["other"]), "pipelines": ["other"]},
        }
    )
    world.start()
    for name in ("one.pdf", "two.csv", "three.bad"):
        world.drop(name, b"content")
    wait_until(lambda: len(world.a.events("delivery done")) == 2, "two are delivered")
    world.wait_closed()
    found = {name: [line.partition("-")[2] for line in noted(out)] for name, out in outs.items()}
    assert found == {"pdf": ["one.pdf/pdf"], "failed": ["three.bad/failed"], "other": []}


def test_a_dead_delivery_is_listed_and_tried_again_when_somebody_asks(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    world = make_world(
        {"tell": {"exec": ["test", "-e", str(gate)], "expire": "100ms",
                  "retry": {"min_delay": "200ms"}}},
        timing={"heartbeat": "10m"},  # What is dead, or not any more, is told before the next.
    )  # fmt: skip
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: world.a.events("delivery dead"), "it dies")
    exchange = exchange_of(world, "delivery dead")
    assert due(world, "tell") == ["dead"]
    assert visible(world.a.folder("state/deliveries/tell/dead")) == [
        f"{exchange}.json", f"~{exchange}",
    ]  # fmt: skip
    (listed,) = json.loads(deliveries(world, "list", "--json").stdout)
    assert (listed["state"], listed["attempts"]) == ("dead", 2)
    assert listed["error"] == "expired: test: exit code 1"
    (summary,) = json.loads(world.a.run("status", "--json").stdout)["deliveries"]
    assert (summary["due"], summary["dead"], summary["exchange"]) == (0, 1, exchange)
    text = world.a.run("status").stdout.decode()
    assert "tell" in text and "exit code 1" in text
    wait_until(lambda: "dead.tell" in conditions(world), "the dead are a condition")
    assert "delivery tell has 1 dead" in conditions(world)["dead.tell"]
    gate.touch()
    done = deliveries(world, "retry", "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{exchange}/tell: due\n"
    wait_until(lambda: world.a.events("delivery done"), "the agent has tried at once")
    assert json.loads(deliveries(world, "list", "--json").stdout) == []
    wait_until(lambda: conditions(world) == {}, "nobody is dead any more")


def test_who_is_dead_is_told_after_a_restart_and_not_any_more_once_dropped(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    often = {"heartbeat": "500ms"}
    world = make_world({"tell": {"exec": ["sh", "{nothing}"]}}, timing=often)
    world.b.start()
    world.drop("one.pdf", b"content")
    wait_until(
        lambda: (
            world.a.run("agent", "--once").returncode == 0
            and visible(world.a.folder("state/deliveries/tell/dead"))
        ),
        "it dies in a run with --once",
    )
    assert list(json.loads(world.a.folder("state/health-a.json").read_text())["conditions"])
    world.a.start()
    assert list(conditions(world)) == ["dead.tell"]
    assert deliveries(world, "drop", "--all").returncode == 0
    wait_until(lambda: conditions(world) == {}, "it is dropped")


def test_what_is_due_can_be_dropped_or_tried_now(make_world: MakeWorld, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    world = make_world(
        {"tell": {"exec": ["test", "-e", str(gate)], "retry": {"min_delay": "1h",
                                                               "max_delay": "1h"}}}
    )  # fmt: skip
    world.start()
    for name in ("one.json", "two.json"):
        world.drop(name, b"content")
    wait_until(lambda: len(world.a.events("delivery failed")) == 2, "both have failed")
    one, two = sorted(
        (line["exchange"] for line in world.a.events("delivery failed")),
        key=lambda exchange: exchange[26:],
    )
    assert deliveries(world, "drop", f"{one}/tell").returncode == 0
    gate.touch()
    assert deliveries(world, "retry", two[:26]).returncode == 0
    wait_until(lambda: world.a.events("delivery done"), "the agent has tried at once")
    assert due(world, "tell") == ["dead"]
    unknown = deliveries(world, "drop", "nothing")
    assert unknown.returncode == 7
    assert unknown.stderr.decode().count("\n") == 1


def test_what_is_due_of_a_delivery_that_is_not_configured_any_more_is_kept_and_told(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    world = make_world({"tell": {"exec": ["false"]}})
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: world.a.events("delivery failed"), "it fails")
    world.a.stop()
    settings = json.loads(world.a.config.read_text())
    out = tmp_path / "out"
    world.a.configure({**settings, "deliver": {}})
    world.a.start()
    report = json.loads(world.a.run("status", "--json").stdout)
    assert [item["key"] for item in report["conditions"]] == ["deliver.tell"]
    assert "holds 1 due and 0 dead, but no delivery tell" in report["conditions"][0]["text"]
    assert (report["deliveries"][0]["configured"], report["deliveries"][0]["due"]) == (False, 1)
    world.a.stop()
    world.a.configure({**settings, "deliver": {"tell": noting(out)}})
    world.a.start()
    wait_until(lambda: world.a.events("delivery done"), "it is delivered after all")
    assert len(noted(out)) == 1


def test_a_delivery_that_is_not_configured_any_more_is_forgotten_once_it_is_dropped(
    make_world: MakeWorld,
) -> None:
    world = make_world({"tell": {"exec": ["false"]}}, timing={"heartbeat": "500ms"})
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: world.a.events("delivery failed"), "it fails")
    world.a.stop()
    world.a.configure({**json.loads(world.a.config.read_text()), "deliver": {}})
    world.a.start()
    assert list(conditions(world)) == ["deliver.tell"]
    assert deliveries(world, "drop", "--delivery", "tell", "--all").returncode == 0
    wait_until(lambda: conditions(world) == {}, "nothing of it is left")


def test_a_run_with_once_delivers_what_can_be(make_world: MakeWorld, tmp_path: Path) -> None:
    out = tmp_path / "out"
    world = make_world(
        {
            "tell": noting(out),
            "fails": {"exec": ["false"], "retry": {"min_delay": "1h", "max_delay": "1h"}},
        }
    )
    world.b.start()
    world.drop("one.json", b"content")
    wait_until(
        lambda: world.a.run("agent", "--once").returncode == 0 and noted(out), "it is delivered"
    )
    assert len(noted(out)) == 1
    assert len(due(world, "fails")) == 3


def test_a_program_gets_names_of_any_bytes_and_none_of_the_agent_s_secrets(
    make_world: MakeWorld, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AGENT_SECRET", "hush")
    out = tmp_path / "out"
    script = 'printf "%s|" "$1" "$OURS" > "$0"; env >> "$0"'
    world = make_world(
        {"tell": {"exec": {"run": ["sh", "-c", script, str(out), "{original_name}"],
                           "environment": {"OURS": "${AGENT_SECRET}"}}}}
    )  # fmt: skip
    world.start()
    name = os.fsdecode(b"\xff $(touch evil) '\"\n-x.csv")
    world.drop(name, b"content")
    wait_until(lambda: world.a.events("delivery done"), "it is delivered")
    text = out.read_bytes()
    assert text.startswith(b"\xff $(touch evil) '\"\n-x.csv|hush|")
    assert b"AGENT_SECRET" not in text


def test_a_signal_to_the_agent_s_group_is_not_needed_to_end_grandchildren(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = "sleep 600 & echo $! > $0; wait"
    world = make_world(
        {"tell": {"exec": {"run": ["sh", "-c", script, str(out)], "timeout": "500ms"}}}
    )
    world.start()
    world.drop("one.json", b"content")
    wait_until(lambda: world.a.events("delivery failed"), "its time is over")
    assert "no end within 0.5 s" in world.a.events("delivery failed")[0]["reason"]
    pid = int(noted(out)[0])
    wait_until(lambda: not _runs(pid), "nothing is left of it")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.needs("nc")
def test_nc_gets_a_line_from_a_real_agent_also_after_a_reload_and_once_a_port_is_free(
    make_world: MakeWorld,
) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as taken:
        world = make_world({"lines": {"tcp": f"127.0.0.1:{port}", "retry": {"max_delay": "1s"}}})
        world.start()
        health = world.a.folder("state/health-a.json")
        wait_until(lambda: "deliver.lines" in health.read_text(), "the condition is told")
        world.drop("one.json", b"content")
        world.result("one.json")
        taken.close()
    wait_until(lambda: len(world.a.events("delivery done")) == 1, "the port is free")
    for number in (1, 2):
        if number == 2:
            os.kill(world.a.pid, signal.SIGHUP)
            wait_until(lambda: len(world.a.events("feed opened")) == 2, "it listens again")
        with subprocess.Popen(["nc", "127.0.0.1", str(port)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as nc:  # fmt: skip
            assert nc.stdin is not None and nc.stdout is not None
            nc.stdin.write(b"since the beginning\n")
            nc.stdin.flush()
            if number == 1:
                assert json.loads(nc.stdout.readline())["original_name"] == "one.json"
            else:
                world.drop("two.json", b"content")
                assert json.loads(nc.stdout.readline())["original_name"] == "two.json"
            nc.stdin.write(b"quit\n")
            nc.stdin.close()
            assert nc.wait(20) == 0


def test_an_agent_killed_again_and_again_forgets_no_delivery(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files, kills = 25, 4
    world = make_world({"tell": noting(out), "also": noting(tmp_path / "also")})
    world.start()
    dice = random.Random(6)
    for kill in range(kills):
        for number in range(files):
            world.drop(f"{kill}-{number}.csv", b"content")
        time.sleep(dice.random())
        world.a.kill()
        world.a.start()
    total = files * kills
    wait_until(lambda: len(visible(world.inbox)) == total, "all results are there", 60)
    wait_until(lambda: due(world, "tell") == due(world, "also") == ["dead"], "nothing is due", 60)
    for name in ("tell", "also"):
        ids = noted(tmp_path / ("out" if name == "tell" else name))
        assert len(set(ids)) == total
        assert len(ids) <= total + kills * 8, "each kill doubles what was in hand, and no more"
