"""A disk that is full while deliveries are due: a real agent on a small tmpfs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deliver.conftest import MakeWorld
from tests.deliver.test_agents import due
from tests.e2e.test_full_disk import Disks, Filler
from tests.e2e.world import World, visible, wait_until

pytestmark = pytest.mark.needs("mount")

SMALL: dict[str, Any] = {"limits": {"reserve": "1MiB"}}
SCRIPT = 'echo "$ROUNDTRIP_ID" >> "$0.asked"; [ -e "$0.open" ] && echo "$ROUNDTRIP_ID" >> "$0.got"'
"""For `sh -c`, with the beginning of three files' names: takes nothing before it is open."""


@pytest.fixture
def disks() -> Iterator[Disks]:
    found = Disks()
    yield found
    found.end()


class Receiver:
    """What the program notes, on another disk."""

    def __init__(self, folder: Path) -> None:
        self._base = folder / "receiver"
        retry = {"min_delay": "100ms", "max_delay": "300ms"}
        self.settings: dict[str, Any] = {
            "exec": ["sh", "-c", SCRIPT, str(self._base)], "retry": retry,
        }  # fmt: skip

    def open(self) -> None:
        Path(f"{self._base}.open").touch()

    def ids(self, which: str) -> list[str]:
        file = Path(f"{self._base}.{which}")
        return file.read_text().split() if file.exists() else []


def conditions(world: World) -> set[str]:
    """What an operator sees."""
    report = json.loads(world.a.run("status", "--json").stdout)
    return {each["key"] for each in report["conditions"]}


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


@pytest.fixture
def world(disks: Disks, make_world: MakeWorld, receiver: Receiver) -> World:
    return small(disks, make_world({"tell": receiver.settings}, **SMALL, archive="off"))


def small(disks: Disks, made: World) -> World:
    """Host A's own disk has 8 MiB, and B's program waits until `B` is there."""
    gate = made.folder / "B"
    script = f"while [ ! -e {gate} ]; do sleep 0.05; done; cat"
    held = {"match": ["held*"], "format": "raw",
            "steps": [{"name": "wait", "command": ["sh", "-c", script]}]}  # fmt: skip
    settings = json.loads(made.b.config.read_text())
    settings["pipelines"] = {"held": held, **settings["pipelines"]}
    made.b.configure({**settings, **SMALL})
    disks.move(made.a, "size=8m")
    return made


def test_nothing_is_lost_or_doubled_and_an_operator_sees_why(
    world: World, receiver: Receiver
) -> None:
    names = [f"{number}.csv" for number in range(3)]
    world.start()
    for name in (*names, "held.csv"):
        world.drop(name, b"content")
    wait_until(lambda: len(set(receiver.ids("asked"))) == 3, "all are tried")
    filler = Filler(world.a.root)
    filler.fill()
    asked = len(receiver.ids("asked"))
    (world.folder / "B").touch()
    wait_until(lambda: len(receiver.ids("asked")) > asked + 9, "they are tried again and again")
    wait_until(lambda: conditions(world) == {"space.state"}, "one condition is shown")
    held = [line["exchange"] for line in world.a.events("delivery held")]
    assert len(held) == len(set(held)) == 3, "each is told of once"

    receiver.open()
    wait_until(lambda: len(receiver.ids("got")) == 3, "a full disk keeps no receiver waiting")
    assert visible(world.inbox) == names
    filler.free()
    wait_until(lambda: len(receiver.ids("got")) == 4, "the one that B had goes on")
    wait_until(lambda: due(world, "tell") == ["dead"], "all is noted")
    wait_until(lambda: conditions(world) == set(), "the trouble is over")
    assert visible(world.inbox) == [*names, "held.csv"]
    assert set(Counter(receiver.ids("got")).values()) == {1}
    assert world.a.events("health not written") == []


def test_an_agent_killed_on_a_full_disk_delivers_with_the_same_ids(
    world: World, receiver: Receiver
) -> None:
    world.start()
    for number in range(3):
        world.drop(f"{number}.csv", b"content")
    wait_until(lambda: len(set(receiver.ids("asked"))) == 3, "all are tried")
    filler = Filler(world.a.root)
    filler.fill()
    wait_until(lambda: world.a.events("delivery held"), "an end can't be noted")
    world.a.kill()
    asked = len(receiver.ids("asked"))
    world.a.start()
    wait_until(lambda: len(receiver.ids("asked")) > asked + 3, "the next life goes on")
    wait_until(lambda: conditions(world) == {"space.state"}, "one condition is shown")
    receiver.open()
    wait_until(lambda: due(world, "tell") == ["dead"], "all are delivered")
    filler.free()
    assert sorted(receiver.ids("got")) == sorted(set(receiver.ids("asked")))


def test_a_result_whose_deliveries_find_no_room_waits_for_it_and_is_delivered_once(
    disks: Disks, make_world: MakeWorld, receiver: Receiver
) -> None:
    """There is room for the private copy, and not for six entries: the inbox has to wait."""
    lanes = [f"lane{number}" for number in range(6)]
    none = {"limits": {"reserve": 0}}
    world = small(disks, make_world(dict.fromkeys(lanes, receiver.settings), **none))
    receiver.open()
    world.start()
    world.drop("held.csv", b"content")
    wait_until(lambda: visible(world.unenriched), "it is published")
    filler = Filler(world.a.root)
    filler.fill(leave=16 * 1024)
    (world.folder / "B").touch()
    wait_until(lambda: world.a.events("held"), "it can't go on")
    wait_until(lambda: conditions(world) == {"space.state"}, "one condition is shown")
    assert visible(world.a.folder("state/collected")) != []
    assert (visible(world.inbox), receiver.ids("got")) == ([], [])
    filler.free()
    wait_until(lambda: len(receiver.ids("got")) == 6, "all lanes have it")
    wait_until(lambda: conditions(world) == set(), "the trouble is over")
    assert sorted(each.partition("/")[2] for each in receiver.ids("got")) == lanes
    assert visible(world.inbox) == ["held.csv"]
