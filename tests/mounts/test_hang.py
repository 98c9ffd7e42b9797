"""A mount that hangs (its server is stopped): the agent, its commands and its stop don't."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_leaks import free_port
from tests.e2e.world import Host, wait_until
from tests.mounts.conftest import MakeMounted
from tests.mounts.load import cases, expect, hand_in
from tests.processes import children

pytestmark = pytest.mark.needs("fuse")

SECOND = 1.0
ROUNDS = int(os.environ.get("HANGS", "3"))
"""How often both mounts hang in the test that looks for growth; set it to 20 for a longer look."""

ROLES = pytest.mark.parametrize("role", ["a", "b"])
ROLE_A = pytest.mark.parametrize("role", cases("a", more="b"))
ROLE_B = pytest.mark.parametrize("role", cases("b", more="a"))


def host_of(world: Any, role: str) -> Host:
    found: Host = world.a if role == "a" else world.b
    return found


def status(host: Host) -> tuple[dict[str, Any], float]:
    """What `roundtrip status` says, and the seconds that the whole process took."""
    began = time.monotonic()
    done = host.run("status", "--json")
    took = time.monotonic() - began
    return json.loads(done.stdout), took


def conditions(host: Host) -> dict[str, dict[str, Any]]:
    """What is wrong by the agent's own word, read from the file that it keeps of its health."""
    path = host.folder(f"state/health-{host.role}.json")
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {each["key"]: each for each in told.get("conditions", [])}


def share_of(role: str) -> str:
    """The condition of the share that this role mounts."""
    return "share.unenriched" if role == "a" else "share.enriched"


@ROLES
def test_a_mount_that_hangs_freezes_nothing_else(
    role: str, make_mounted: MakeMounted, record_property: Any
) -> None:
    world = make_mounted()
    host = host_of(world, role)
    mount = world.mount_of(host)
    hand_in(world, range(4))
    expect(world, range(4))
    helpers = children(host.pid)
    patience = max(SECOND, 2 * status(host)[1])  # On a slow machine Python alone needs a second.
    mount.freeze()
    frozen = time.time()
    hand_in(world, range(4, 12))
    found = wait_until(lambda: conditions(host).get(share_of(role)), "the hang is noticed", 5)
    # It says what is wrong and since when.
    assert "hung since" in found["text"], found
    told, took = status(host)
    record_property("status during the hang, seconds", round(took, 3))
    assert took < patience
    [shown] = [each for each in told["conditions"] if each["key"] == share_of(role)]
    assert shown["since"][:10] == time.strftime("%Y-%m-%d", time.gmtime(frozen))
    assert "hung" in told["shares"][share_of(role).removeprefix("share.")]["health"]
    # The other one's life signs and this one's intake go on.
    wait_until(lambda: not list(world.outbox.iterdir()), "A takes files in")
    assert (told["peer"] or {})["age"] < 5
    thawed = time.monotonic()
    mount.thaw()
    expect(world, range(4, 12))
    record_property("back until everything is delivered, seconds", time.monotonic() - thawed)
    wait_until(lambda: share_of(role) not in conditions(host), "the trouble is over")
    assert len(children(host.pid)) == len(helpers)
    assert not any(Path(f"/proc/{pid}").exists() for pid in helpers - children(host.pid))


@ROLE_B
def test_metrics_are_served_while_the_mount_hangs(role: str, make_mounted: MakeMounted) -> None:
    world = make_mounted()
    host = host_of(world, role)
    assert host.stop() == 0
    address = f"127.0.0.1:{free_port()}"
    settings = json.loads(host.config.read_text())
    host.config.write_text(json.dumps({**settings, "metrics": {"listen": address}}))
    host.start()
    world.mount_of(host).freeze()
    hand_in(world, range(4))
    wait_until(lambda: share_of(role) in conditions(host), "the hang is noticed", 5)
    for _ in range(3):
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECOND) as answer:
            text = answer.read().decode()
        lag = float(text.split("\nroundtrip_loop_lag_seconds ")[1].split("\n")[0])
        assert lag < 0.5
        assert "roundtrip_shares_ok 0.0" in text
    world.mount_of(host).thaw()
    expect(world, range(4))


@pytest.mark.parametrize(
    ("role", "noticed"), cases(("a", False), ("b", True), more=[("a", True), ("b", False)])
)
def test_sigterm_ends_an_agent_whose_mount_hangs(
    role: str, noticed: bool, make_mounted: MakeMounted, record_property: Any
) -> None:
    world = make_mounted(**({} if noticed else {"share_timeout": "30s"}))
    host = host_of(world, role)
    world.mount_of(host).freeze()
    hand_in(world, range(4))
    if noticed:
        wait_until(lambda: share_of(role) in conditions(host), "the hang is noticed", 5)
    else:
        wait_until(lambda: host.events("taken" if role == "a" else "ready"), "work has begun")
    began = time.monotonic()
    assert host.stop(seconds=10) == 0
    took = time.monotonic() - began
    record_property("SIGTERM to the end, seconds", round(took, 3))
    assert took < 2 + SECOND
    world.mount_of(host).thaw()
    host.start()
    expect(world, range(4))


@ROLE_A
def test_an_agent_killed_and_started_while_its_mount_hangs_waits_for_it(
    role: str, make_mounted: MakeMounted
) -> None:
    world = make_mounted()
    host = host_of(world, role)
    mount = world.mount_of(host)
    mount.freeze()
    hand_in(world, range(4))
    wait_until(lambda: share_of(role) in conditions(host), "the hang is noticed", 5)
    host.kill()
    host.start(ready=False)
    lines = len(host.events("trouble"))
    wait_until(lambda: len(host.events("trouble")) > lines, "it says that it waits", 10)
    process = host.process
    assert process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # It doesn't give up.
    mount.thaw()
    host.wait_ready()
    expect(world, range(4))


@ROLE_B
def test_a_single_call_that_hangs_is_repeated_and_not_done_twice(
    role: str, make_mounted: MakeMounted
) -> None:
    """The server has the call already, and does it while a new helper is being asked."""
    world = make_mounted()
    mount = world.mount_of(host_of(world, role))
    mount.fault("rename", delay=3.0, times=1)
    hand_in(world, range(4))
    expect(world, range(4))
    assert mount.hits() == [1]


def test_nothing_grows_with_hangs(make_mounted: MakeMounted, record_property: Any) -> None:
    world = make_mounted(share_timeout="200ms")
    hosts = (world.a, world.b)

    def held() -> list[int]:
        return [
            count
            for host in hosts
            for count in (len(os.listdir(f"/proc/{host.pid}/fd")), len(children(host.pid)))
        ]

    def hang(first: int) -> None:
        for host in hosts:
            world.mount_of(host).freeze()
        hand_in(world, range(first, first + 2))
        for host in hosts:
            wait_until(lambda host=host: share_of(host.role) in conditions(host), "noticed", 5)
        for host in hosts:
            world.mount_of(host).thaw()
        expect(world, range(first, first + 2))
        for host in hosts:
            wait_until(lambda host=host: not conditions(host), "over", 10)

    hang(0)
    before = held()
    began = time.monotonic()
    for number in range(1, ROUNDS + 1):
        hang(2 * number)
    record_property("seconds a round", round((time.monotonic() - began) / ROUNDS, 2))
    after = held()
    # B keeps idle connections to the API open.
    assert all(now <= then + 4 for now, then in zip(after, before, strict=True)), (before, after)


def test_a_stopped_agent_does_not_take_its_own_pause_for_a_hang(world: Any) -> None:
    os.kill(world.a.pid, signal.SIGSTOP)
    time.sleep(1.5)  # Longer than share_timeout; there is nothing to wait for.
    os.kill(world.a.pid, signal.SIGCONT)
    hand_in(world, range(4))
    expect(world, range(4))
    assert share_of("a") not in {line["key"] for line in world.a.events("trouble")}
