"""What is to be delivered is written and pushed, wherever role a or both roles are killed."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from roundtrip.deliver.entry import content_of, decode, file_of
from roundtrip.deliver.settings import DeliverySettings, ExecSettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.protocol.markers import Outcome
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.outgoing import Lane, Outgoing
from roundtrip.roles.requester import Requester
from tests.roles.test_walk import Run
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, Crash, World

DUE, DEAD = "a/deliveries/tell", "a/deliveries/tell/dead"
SETTINGS = DeliverySettings("tell", ExecSettings(("true",)), on=("enriched", "partial", "failed"))


class DeliveringWorld(World):
    """A world whose role a has one delivery. What is pushed is noted and looked at."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for label in (DUE, DEAD):
            self.disk.folder(label)
        self.pushed: Counter[str] = Counter()
        self.paths: set[str] = set()

    def _requester(self) -> Requester:
        made = super()._requester()
        due = self.disk.folder(DUE)
        lane = Lane(SETTINGS, due, Shelf(due, self.disk.folder(DEAD)), self.push)
        self.pushed.clear()  # what an earlier life knew
        made._delivery._outgoing = Outgoing([lane], now=self.now)
        return made

    def push(self, exchange: str) -> None:
        self.pushed[exchange] += 1
        entry = decode(self.files(DUE)[file_of(exchange)], exchange)
        folder, _, name = entry.path.rpartition("/")
        assert name in self.files(folder), "told of what is not there yet"
        content = self.files(DUE)[content_of(exchange)]
        assert self.files(folder)[name] == content
        assert entry.size == len(content)
        self.paths.add(entry.path)

    def check_due(self, path: str, content: bytes) -> None:
        """The last life knows of it, and its content is there, whatever becomes of the inbox."""
        assert self.pushed == {EXCHANGE: 1}
        assert set(self.files(DUE)) == {file_of(EXCHANGE), content_of(EXCHANGE)}
        assert self.files(DUE)[content_of(EXCHANGE)] == content
        assert self.paths == {path}
        assert self.left() == {}


def world_of(**settings: Any) -> DeliveringWorld:
    world = DeliveringWorld(**settings)
    world.want()
    return world


def operations() -> int:
    run = Run(world_of())
    run.to_the_end()
    run.world.check_end()
    return run.mutations


POINTS = [
    (number, moment) for number in range(1, operations() + 1) for moment in ("before", "after")
]


@pytest.mark.parametrize("crash_at", POINTS, ids=lambda point: f"{point[1]}-{point[0]}")
def test_killed_at_any_operation_what_is_to_be_delivered_is_due(crash_at: tuple[int, str]) -> None:
    world = world_of()
    run = Run(world, crash_at)
    run.to_the_end()
    assert run.crash_at is None, "the crash point was never reached"
    world.check_end()
    _as_if_started_again(world)
    world.check_due("a/inbox/orders.csv", ENRICHED)


def _as_if_started_again(world: DeliveringWorld) -> None:
    """What counts is what the next life finds: the last one may have pushed and died later."""
    run = Run(world)
    run.to_the_end()


@pytest.mark.parametrize("seed", range(100))
def test_any_order_of_operations_with_any_crashes_leaves_it_due(seed: int) -> None:
    dice = random.Random(seed)
    world = world_of(answers=100)
    run = Run(world)
    crashes = 0
    while movable := [role for role in "ab" if run.lives[role].can_move]:
        role = dice.choice(movable)
        if crashes < 6 and dice.random() < 0.05:
            crashes += 1
            run.lives[role].die()
        else:
            run.move(role)
    _as_if_started_again(world)
    world.check_due("a/inbox/orders.csv", ENRICHED)


@pytest.mark.parametrize("seed", range(30))
def test_a_failed_exchange_is_due_with_its_problem(seed: int) -> None:
    dice = random.Random(seed)
    world = world_of(answers=100)
    world.enrich = lambda content: Answer(Outcome.FAILED, {}, "upper")
    run = Run(world)
    run.world.check_always = lambda: None  # type: ignore[method-assign]
    while movable := [role for role in "ab" if run.lives[role].can_move]:
        role = dice.choice(movable)
        if dice.random() < 0.05:
            run.lives[role].die()
        else:
            run.move(role)
    _as_if_started_again(world)
    document = world.files("a/failed")["orders.csv.problem.json"]
    world.check_due("a/failed/orders.csv.problem.json", document)
    entry = decode(world.files(DUE)[file_of(EXCHANGE)], EXCHANGE)
    assert entry.outcome == "failed"
    assert entry.original == "a/failed/orders.csv"
    assert world.files("a/failed")["orders.csv"] == ORIGINAL
    assert entry.problem["title"]


def test_what_is_taken_away_before_it_is_delivered_is_told_to_nobody() -> None:
    """A is dead, the entry is written, and somebody removes the original from closing/."""
    world = world_of()
    run = Run(world)
    guard = world.disk.guard

    async def die_before_the_inbox(moment: str, operation: str) -> None:
        if moment == "before" and operation.startswith("move a/collected"):
            world.disk.guard = guard
            run.dying = "a"
            raise Crash(operation)
        await guard(moment, operation)

    world.disk.guard = die_before_the_inbox
    while world.disk.guard is not guard:
        run.move(next(role for role in "ab" if run.lives[role].can_move))
    assert file_of(EXCHANGE) in world.files(DUE)
    del world.files("a/closing")[EXCHANGE]
    world.check_always = lambda: None  # type: ignore[method-assign]
    run.lives["a"].die()
    run.to_the_end()
    assert not world.pushed
    assert world.files(DUE) == {}
