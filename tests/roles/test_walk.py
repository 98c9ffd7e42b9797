"""The table walked: every crash point, every order of the two roles' operations, one end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import MARKER_SUFFIX
from roundtrip.shares.memory import MemoryFolder
from tests.roles.world import EXCHANGE, Crash, Life, World, owner_of, turn


class Run:
    """One run of both roles; `crash_at` is the operation (counted) and moment to die at."""

    def __init__(self, world: World, crash_at: tuple[int, str] | None = None) -> None:
        self.world = world
        self.crash_at = crash_at
        self.mutations = 0
        self.lives = {role: Life(world, role) for role in "ab"}
        self.dying: str | None = None
        world.disk.guard = self.guard

    async def guard(self, moment: str, operation: str) -> None:
        if moment == "before":
            self.mutations += 1
        if moment == "after":
            self.world.check_always()
            for life in self.lives.values():  # An event for both; looking in vain is harmless.
                life.awake = True
        if moment != "look" and (self.mutations, moment) == self.crash_at:
            self.crash_at = None
            self.dying = owner_of(operation)
            raise Crash(operation)
        await turn()

    def move(self, role: str) -> None:
        try:
            self.lives[role].step()
        except Crash:
            assert self.dying == role
            self.lives[role].die()

    def to_the_end(self) -> None:
        for _ in range(2000):
            movable = [role for role in "ab" if self.lives[role].can_move]
            if not movable:
                return
            self.move(movable[0])
        raise AssertionError("the roles never come to rest")


def wanted_world(**settings: Any) -> World:
    world = World(**settings)
    world.want()
    return world


def mutations_of_a_whole_exchange() -> int:
    run = Run(wanted_world())
    run.to_the_end()
    run.world.check_end()
    return run.mutations


CRASH_POINTS = [
    (number, moment)
    for number in range(1, mutations_of_a_whole_exchange() + 1)
    for moment in ("before", "after")
]


@pytest.mark.parametrize("crash_at", CRASH_POINTS, ids=lambda point: f"{point[1]}-{point[0]}")
def test_a_crash_before_or_after_any_operation_leads_to_the_same_end(
    crash_at: tuple[int, str],
) -> None:
    run = Run(wanted_world(), crash_at)
    run.to_the_end()
    run.world.check_end()
    assert run.crash_at is None, "the crash point was never reached"
    assert run.world.enriched[EXCHANGE] <= 2


@pytest.mark.parametrize("seed", range(200))
def test_any_order_of_operations_with_any_crashes_leads_to_the_same_end(seed: int) -> None:
    dice = random.Random(seed)
    run = Run(wanted_world(answers=100))
    crashes = 0
    for _ in range(5000):
        movable = [role for role in "ab" if run.lives[role].can_move]
        if not movable:
            break
        role = dice.choice(movable)
        if crashes < 6 and dice.random() < 0.03:
            crashes += 1
            run.lives[role].die()
        else:
            run.move(role)
    else:
        raise AssertionError("the roles never come to rest")
    run.world.check_end()
    assert run.world.enriched[EXCHANGE] <= 1 + crashes


def test_every_order_of_the_two_roles_operations_leads_to_the_same_end() -> None:
    """Depth first over every choice of who moves next, cut where the same situation was seen."""
    seen: set[object] = set()
    ends = 0
    branches: list[list[str]] = [[]]
    while branches:
        chosen = branches.pop()
        run = Run(wanted_world())
        for role in chosen:
            run.move(role)
        while True:
            movable = [role for role in "ab" if run.lives[role].can_move]
            if not movable:
                run.world.check_end()
                ends += 1
                break
            situation = situation_of(run)
            if situation in seen:
                break
            seen.add(situation)
            if len(movable) == 2:
                branches.append([*chosen, "b"])
            chosen = [*chosen, movable[0]]
            run.move(movable[0])
    assert ends > 1
    assert len(seen) > 300


def situation_of(run: Run) -> object:
    """All that decides what can happen next: the files, and what each role knows and is doing."""
    files = tuple(
        (label, tuple(sorted((stable_name(name), len(names[name])) for name in names)))
        for label, names in sorted(run.world.disk.files.items())
        if names
    )
    return files, tuple((progress_of(run.lives[role]), memory_of(run, role)) for role in "ab")


def progress_of(life: Life) -> object:
    frames = []
    coroutine: Any = life._coroutine
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        frame = coroutine.cr_frame
        known = tuple(repr(frame.f_locals[key]) for key in KNOWLEDGE if key in frame.f_locals)
        frames.append((coroutine.cr_code.co_name, frame.f_lasti, known))
        coroutine = coroutine.cr_await
    return life.awake, life._started, tuple(frames)


KNOWLEDGE = ("names", "step", "request_marker", "response_marker", "response", "done")


def memory_of(run: Run, role: str) -> object:
    known = vars(run.world.roles[role])
    return tuple(
        (key, repr(value))
        for key, value in sorted(known.items())
        if isinstance(value, set | int) or key == "_broken_since"
    )


def stable_name(name: str) -> str:
    """In-flight names are random; what they stand for is not."""
    return name if not name.startswith(".") else name.rsplit(".", 2)[0]


def test_marking_a_payload_before_it_is_there_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real_put = MemoryFolder.put
    held: dict[tuple[str, str], bytes] = {}

    async def marker_first(
        self: MemoryFolder, name: str, source: bytes, *, durable: bool = False
    ) -> Digest:
        if not name.endswith(MARKER_SUFFIX):
            held[self.label, name] = source
            disk = World().disk.folder("unenriched")
            return await real_put(disk, name, source)
        digest = await real_put(self, name, source)
        payload = name.removesuffix(MARKER_SUFFIX)
        await real_put(self, payload, held.pop((self.label, payload)))
        return digest

    monkeypatch.setattr(MemoryFolder, "put", marker_first)
    with pytest.raises(AssertionError, match="marker without its payload"):
        Run(wanted_world()).to_the_end()


def test_removing_a_payload_before_its_marker_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real_remove = MemoryFolder.remove

    async def payload_first(self: MemoryFolder, name: str) -> bool:
        if self.label in ("unenriched", "enriched"):
            await real_remove(self, name.removesuffix(MARKER_SUFFIX))
        return await real_remove(self, name)

    monkeypatch.setattr(MemoryFolder, "remove", payload_first)
    with pytest.raises(AssertionError, match="marker without its payload"):
        Run(wanted_world()).to_the_end()
