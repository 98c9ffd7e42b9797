"""What an operator alerts on: what is due, for how long it fails, and what was given up."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from roundtrip.config import load
from roundtrip.places import Places
from roundtrip.queues import DeadCounts
from tests.deliver.conftest import MakeWorld
from tests.deliver.test_agents import deliveries
from tests.e2e.world import World, wait_until
from tests.test_metrics import PAGE, free_address, scrape, value

NAMES = ("due", "failing", "failing_age_seconds", "dead", "total")


def shown(world: World, delivery: str) -> dict[str, float]:
    metrics = scrape(world.a)
    return {
        name: value(metrics, f"roundtrip_deliveries_{name}", delivery=delivery)
        for name in NAMES[:-1]
    }


def test_what_is_due_failing_and_dead_is_shown_also_by_the_next_life(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    world = make_world(
        {
            "tell": {"exec": ["test", "-e", str(gate)],
                     "retry": {"min_delay": "300ms", "max_delay": "300ms"}},
            "dies": {"exec": ["false"], "expire": "1ms"},
        },
        metrics={"listen": free_address()},
    )  # fmt: skip
    world.start()
    began = time.time()
    for name in ("one.json", "two.json"):
        world.drop(name, b"content")
    wait_until(lambda: shown(world, "dies")["dead"] == 2, "two are dead", pause=0.1)
    wait_until(lambda: shown(world, "tell")["failing"] == 2, "two fail", pause=0.1)
    names = {name for name in scrape(world.a) if name.startswith("roundtrip_deliveries_")}
    assert names == set(re.findall(r"^\| `(roundtrip_deliveries_\w+)`", PAGE.read_text(), re.M))
    assert shown(world, "dies") == {"due": 0, "failing": 0, "failing_age_seconds": 0, "dead": 2}

    world.a.kill()
    world.a.start()
    wait_until(lambda: shown(world, "tell")["failing"] == 2, "they still fail", pause=0.1)
    found = shown(world, "tell")
    assert found["due"] == 2
    assert 0.2 < found["failing_age_seconds"] < time.time() - began
    assert shown(world, "dies")["dead"] == 2
    assert deliveries(world, "drop", "--delivery", "dies", "--all").returncode == 0
    wait_until(lambda: shown(world, "dies")["dead"] == 0, "they were dropped", pause=0.1)
    gate.touch()
    nothing = {"due": 0, "failing": 0, "failing_age_seconds": 0, "dead": 0}
    wait_until(lambda: shown(world, "tell") == nothing, "all is delivered", pause=0.1)


def test_dead_ones_are_counted_anew_when_their_folder_has_changed_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "roundtrip.yaml"
    both = {"x": {"exec": ["true"]}, "y": {"exec": ["true"]}}
    config.write_text(json.dumps({"role": "a", "deliver": both}))
    settings = load(config)
    counts = DeadCounts(settings, Places(settings))
    assert counts.look() == {}
    dead = tmp_path / "state/deliveries/x/dead"
    dead.mkdir(parents=True)
    name = "01ARZ3NDEKTSV4RRFFQ69G5F00-a.csv"
    for each in (f"{name}.json", f"~{name}", f".{name}.1.part"):
        (dead / each).touch()
    assert counts.look() == {"x": 1}
    (dead / f"{name}2.json").touch()
    assert counts.look() == {"x": 2}, "also within one tick of the clock"
    listed: list[object] = []
    really = os.scandir

    def noting(path: Path) -> object:
        listed.append(path)
        return really(path)

    monkeypatch.setattr(os, "scandir", noting)
    os.utime(dead, (1e9, 1e9))
    assert [counts.look() for _ in range(3)] == [{"x": 2}] * 3
    assert len(listed) == 1
