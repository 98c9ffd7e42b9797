"""Both agents use their mounted share through a helper process: all else is as ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random
from typing import Any

from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import FORMATS, sample
from tests.e2e.world import World, wait_until
from tests.processes import children, command_line

A: dict[str, Any] = {
    "shares": {
        "unenriched": {"path": "../hostB/Unenriched", "access": "helper"},
        "enriched": "Enriched",
    }
}
B: dict[str, Any] = {
    "shares": {
        "unenriched": "Unenriched",
        "enriched": {"path": "../hostA/Enriched", "access": "helper"},
    }
}


def helpers_of(pid: int) -> list[int]:
    """The helper processes of an agent."""
    return [each for each in children(pid) if b"roundtrip.shares.helper" in command_line(each)]


def round_trips(world: World, seed: int) -> None:
    random = Random(seed)
    asked = [
        sample(random, f"{seed}-{size}.{extension}", size)
        for extension in FORMATS
        for size in (1, 40_000)
    ]
    asked.append(sample(random, f"{seed}-large.raw", 2 << 20))
    for each in asked:
        world.drop(each.name, each.content)
    for each in asked:
        assert world.result(each.name) == each.result
    world.wait_swept()


def test_files_come_back_through_helpers_and_after_both_were_killed(
    make_world: MakeWorld,
) -> None:
    world = make_world(a=A, b=B)
    world.start()
    first = [*helpers_of(world.a.pid), *helpers_of(world.b.pid)]
    assert len(first) == 2
    round_trips(world, 1)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    round_trips(world, 2)
    again = [*helpers_of(world.a.pid), *helpers_of(world.b.pid)]
    assert len(again) == 2 and not set(again) & set(first)
    assert world.a.stop() == 0 and world.b.stop() == 0
    wait_until(lambda: not any(map(_runs, again)), "the helpers end with their agents")


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
