"""Deliveries of a real agent: killed, restarted, stopped, configured otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.deliver.conftest import MakeWorld
from tests.e2e.world import World, visible, wait_until

NOTE = 'echo "$ROUNDTRIP_ID" >> "$0"'
"""A script for `sh -c`: notes the delivery's id in the file that is its first argument."""


def noting(file: Path, script: str = NOTE) -> dict[str, Any]:
    return {"exec": ["/bin/sh", "-c", script, str(file)], "retry": {"min_delay": "50ms"}}


def noted(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


def due(world: World, delivery: str) -> list[str]:
    return visible(world.a.folder(f"state/deliveries/{delivery}"))


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
