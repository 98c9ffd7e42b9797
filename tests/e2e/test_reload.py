"""SIGHUP: a new configuration while exchanges flow, and one that can't be used."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.e2e.conftest import MakeWorld
from tests.e2e.world import Host, World, pipelines, wait_until


def hang_up(host: Host, event: str) -> None:
    """Reload, and wait until the log has one `event` more."""
    before = len(host.events(event))
    os.kill(host.pid, signal.SIGHUP)
    wait_until(lambda: len(host.events(event)) > before, f"{event} after SIGHUP")


def status(host: Host) -> Any:
    return json.loads(host.run("status", "--json").stdout)


def write(host: Host, settings: dict[str, Any]) -> None:
    host.configure({"shares": json.loads(host.config.read_text())["shares"], **settings})


def test_a_new_configuration_is_in_force_after_sighup(running: World, api: Any) -> None:
    renamed = {"later": pipelines(api.url)["echo"]}
    write(running.b, {"pipelines": renamed})
    hang_up(running.b, "ready")
    running.drop("x.raw", b"content")
    assert running.result("x.raw") == b"content"
    running.wait_closed()
    assert running.b.events("answered")


def test_exchanges_under_way_survive_reloads_of_both_sides(running: World) -> None:
    for number in range(60):
        running.drop(f"{number}.raw", b"%d" % number)
        if number % 20 == 10:
            hang_up(running.a, "ready")
            hang_up(running.b, "ready")
    for number in range(60):
        assert running.result(f"{number}.raw") == b"%d" % number
    running.wait_swept()
    assert len(running.a.events("delivered")) == 60


def test_an_invalid_configuration_changes_nothing_and_status_says_why(running: World) -> None:
    right = running.b.config.read_text()
    running.b.config.write_text(right.replace('"role"', '"rule": 1, "role"'))
    hang_up(running.b, "reload refused")
    running.b.config.write_text(right)
    (wrong,) = status(running.b)["conditions"]
    assert wrong["key"] == "reload" and "rule: unknown key" in wrong["text"]
    running.drop("x.raw", b"content")
    assert running.result("x.raw") == b"content"
    hang_up(running.b, "ready")
    assert status(running.b)["conditions"] == []


def test_a_configuration_that_cannot_be_put_to_work_is_given_up_for_the_last_one(
    running: World,
) -> None:
    right = running.a.config.read_text()
    running.a.config.write_text(json.dumps(json.loads(right) | {"inbox": "nowhere"}))
    hang_up(running.a, "ready")
    assert "nowhere" in running.a.events("reload refused")[0]["problems"][0]
    running.a.config.write_text(right)
    (wrong,) = status(running.a)["conditions"]
    assert wrong["key"] == "reload" and "nowhere: no such folder" in wrong["text"]
    running.drop("x.raw", b"content")
    assert running.result("x.raw") == b"content"


def test_an_address_that_is_taken_is_no_reason_to_end(running: World, api: Any) -> None:
    right = json.loads(running.a.config.read_text())
    taken = api.url.removeprefix("http://")
    running.a.config.write_text(json.dumps(right | {"metrics": {"listen": taken}}))
    hang_up(running.a, "ready")
    assert "metrics.listen" in running.a.events("reload refused")[0]["problems"][0]
    running.drop("x.raw", b"content")
    assert running.result("x.raw") == b"content"


def test_twenty_reloads_leave_no_descriptor_behind(make_world: MakeWorld) -> None:
    world = make_world()
    world.start()

    def descriptors(host: Host) -> int:
        return len(os.listdir(f"/proc/{host.pid}/fd"))

    for host in (world.a, world.b):
        hang_up(host, "ready")
        before = descriptors(host)
        for _ in range(20):
            hang_up(host, "ready")
        assert descriptors(host) <= before


def test_a_hangup_during_the_end_does_not_bring_the_agent_back(running: World) -> None:
    os.kill(running.a.pid, signal.SIGTERM)
    os.kill(running.a.pid, signal.SIGHUP)
    assert running.a.process is not None
    assert running.a.process.wait(20) == 0
    running.a.process = None
