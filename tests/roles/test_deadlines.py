"""Deadlines: by the requester's clock alone, and exactly one end for each exchange."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import created_of, marker_of
from roundtrip.protocol.problem import Problem
from roundtrip.roles.expiry import Deadlines, deadline_in
from roundtrip.roles.requester import Requester
from roundtrip.roles.ticket import Ticket
from tests.roles.driver import to_rest
from tests.roles.test_walk import Run
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, World

CREATED = created_of(EXCHANGE) or 0.0
HOUR = 3600.0


def asked(world: World) -> World:
    """A has published, and looks again when the deadline says so."""
    world.want()
    world.start("a")
    asyncio.run(world.roles["a"].start())
    look(world)
    return world


def look(world: World, role: str = "a") -> float | None:
    return asyncio.run(world.roles[role].look(EXCHANGE))


def failed(world: World) -> Problem:
    files = world.files("a/failed")
    assert set(files) == {"orders.csv", "orders.csv.problem.json"}
    assert files["orders.csv"] == ORIGINAL
    return Problem.decode(files["orders.csv.problem.json"], EXCHANGE)


def test_a_request_past_its_deadline_is_withdrawn_and_its_original_fails() -> None:
    world = asked(World(deadline=HOUR))
    assert look(world) == pytest.approx(HOUR), "no look is needed before"
    world.clock.now += HOUR
    to_rest(world, roles="a")
    problem = failed(world)
    assert problem.kind == "deadline"
    assert timestamp(CREATED + HOUR) in problem.detail
    assert world.left() == {}
    to_rest(world)
    assert world.files("a/inbox") == {}


def test_the_marker_tells_b_the_deadline() -> None:
    world = asked(World(deadline=HOUR))
    marker = json.loads(world.files("unenriched")[marker_of(EXCHANGE)])
    assert marker["deadline"] == timestamp(CREATED + HOUR)


@pytest.mark.parametrize(("own", "left"), [(60.0, 60.0), (2 * HOUR, 2 * HOUR)])
def test_an_exchange_s_own_deadline_counts_more_than_the_configured_one(
    own: float, left: float
) -> None:
    world = World(deadline=HOUR)
    world.want(original_name="orders.csv", deadline=timestamp(CREATED + own))
    world.start("a")
    asyncio.run(world.roles["a"].start())
    assert look(world) == pytest.approx(left)


def test_without_a_deadline_nothing_is_given_up_and_nobody_wakes() -> None:
    world = asked(World())
    world.clock.now += 1e9
    assert look(world) is None
    assert world.files("a/failed") == {}


def test_an_answer_that_came_too_late_is_swept_and_never_delivered() -> None:
    world = asked(World(deadline=HOUR))
    world.start("b")
    world.clock.now += HOUR
    look(world)
    late = World(deadline=HOUR)
    late.disk = world.disk
    for name, content in ((EXCHANGE, ENRICHED), (marker_of(EXCHANGE), b"{}")):
        world.files("enriched")[name] = content
    to_rest(world)
    assert failed(world).kind == "deadline"
    assert world.files("a/inbox") == {} == world.left()


def test_an_answer_that_is_there_when_a_looks_is_taken_however_late_a_is() -> None:
    world = asked(World(deadline=HOUR))
    to_rest(world, roles="b")
    world.clock.now += 10 * HOUR
    to_rest(world)
    world.check_end()
    assert world.files("a/failed") == {}


def test_an_exchange_that_never_left_fails_at_its_deadline_without_being_published() -> None:
    world = World(deadline=HOUR)
    world.want()
    world.start("a")
    world.clock.now += HOUR
    requester = world.roles["a"]
    assert isinstance(requester, Requester)
    requester.adopt(EXCHANGE, Ticket("orders.csv"))
    assert look(world) is None
    assert failed(world).kind == "deadline"
    assert requester.tally.published == 0
    assert world.left() == {}


def test_a_new_life_looks_at_what_has_a_deadline_though_nothing_is_to_be_done() -> None:
    world = asked(World(deadline=HOUR))

    async def restart() -> tuple[list[str], list[str]]:
        world.start("a")
        await world.roles["a"].start()
        return await world.roles["a"].rescan(), await world.roles["a"].rescan()

    assert asyncio.run(restart()) == ([EXCHANGE], []), "once, to set its timer"


def test_a_listing_finds_a_deadline_that_the_clock_jumped_over() -> None:
    world = asked(World(deadline=HOUR))

    async def listed() -> list[str]:
        return await world.roles["a"].rescan()

    assert asyncio.run(listed()) == [EXCHANGE], "the first one sets its timer"
    assert asyncio.run(listed()) == []
    world.set_by = 2 * HOUR
    assert asyncio.run(listed()) == [EXCHANGE]
    to_rest(world)
    assert failed(world).kind == "deadline"


def test_a_clock_set_back_only_postpones_the_end() -> None:
    world = asked(World(deadline=HOUR))
    world.set_by = -24 * HOUR
    world.clock.now += HOUR
    assert look(world) == pytest.approx(24 * HOUR)
    to_rest(world, roles="b")
    to_rest(world)
    world.check_end()


def test_whoever_waits_is_told_of_the_failure() -> None:
    world = World(deadline=HOUR)
    world.want(original_name="orders.csv", reply=True)
    to_rest(world, roles="a")
    world.clock.now += HOUR
    to_rest(world, roles="a")
    record = json.loads(world.files("a/outcomes")[f"{EXCHANGE}.json"])
    assert record["outcome"] == "failed"


_FAR = 1e6  # seconds


class Expiring(World):
    """A world whose exchange expires at some moment of the walk: A's time of day jumps over it."""

    def __init__(self) -> None:
        super().__init__(deadline=_FAR, answers=100)
        self.want()

    def start(self, role: str) -> None:
        """Nobody waits for the deadline: it comes when the test says so."""
        super().start(role)
        side = self.roles[role]
        real = side.look

        async def look(exchange: str) -> float | None:
            again = await real(exchange)
            return None if again is not None and again > _FAR / 2 else again

        side.look = look  # type: ignore[method-assign]

    def check_always(self) -> None:
        homes = ("pending", "closing", "archive")
        found = [self.files(f"a/{label}").get(EXCHANGE) for label in homes]
        found.append(self.files("a/failed").get("orders.csv"))
        assert found.count(ORIGINAL) == 1, "the original is lost or doubled"
        assert len(self.files("a/inbox")) <= 1, "delivered twice"

    def check_end(self) -> None:
        """One end: delivered or failed, never both and never neither."""
        self.check_always()
        if self.files("a/inbox"):
            super().check_end()
            assert self.files("a/failed") == {}
        else:
            assert failed(self).kind == "deadline"
            assert self.files("a/archive") == {}
        assert self.left() == {}


def operations(world: World, crash_at: tuple[int, str] | None, expire_at: int) -> Run:
    """Both roles to the end; A's clock jumps over the deadline at the `expire_at`-th step."""
    run = Run(world, crash_at)
    for step in range(3000):
        if step == expire_at:
            world.set_by += 2 * _FAR
            run.lives["a"].awake = True  # Its timer.
        movable = [role for role in "ab" if run.lives[role].can_move]
        if not movable:
            if step < expire_at:
                run.steps = step  # type: ignore[attr-defined]
                return run
            break
        run.move(movable[step % len(movable)])
    run.steps = step  # type: ignore[attr-defined]
    return run


def test_expiry_at_any_step_with_a_crash_at_any_operation_has_one_end() -> None:
    whole = operations(Expiring(), None, 10**6)
    steps: int = whole.steps  # type: ignore[attr-defined]
    ends = {"inbox": 0, "failed": 0}
    dice = random.Random(7)
    points = [
        (expire, (number, moment))
        for expire in range(0, steps + 1, 2)
        for number in range(1, whole.mutations + 8)
        for moment in ("before", "after")
    ]
    for expire_at, crash_at in dice.sample(points, min(len(points), 1200)):
        world = Expiring()
        run = operations(world, crash_at, expire_at)
        world.check_end()
        ends["inbox" if world.files("a/inbox") else "failed"] += 1
        assert run.mutations > 0
    assert min(ends.values()) > 100, f"both ends are reached: {ends}"


@pytest.mark.parametrize("seed", range(60))
def test_expiry_in_any_order_of_operations_with_clocks_set_back_and_forth(seed: int) -> None:
    dice = random.Random(seed)
    world = Expiring()
    run = Run(world)
    crashes = 0
    for _ in range(5000):
        if dice.random() < 0.01:
            world.set_by = dice.choice([0.0, 2 * _FAR])
            run.lives["a"].awake = True
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
    world.check_end()


@pytest.mark.parametrize("text", [None, "", "soon", 7, "2026-11-21T10:00:00", "9" * 400])
def test_a_ticket_s_deadline_that_is_none_is_passed_over(text: object) -> None:
    deadlines = Deadlines(None)
    deadlines.note(EXCHANGE, Ticket("orders.csv", deadline=text))  # type: ignore[arg-type]
    assert deadlines.knows(EXCHANGE)
    assert deadlines.left(EXCHANGE) is None and deadlines.text(EXCHANGE) is None


def test_no_deadline_is_later_than_a_date_can_be() -> None:
    assert deadline_in(1e15).startswith("9999-12-31")
    deadlines = Deadlines(1e15)
    deadlines.note(EXCHANGE, Ticket("orders.csv"))
    assert (deadlines.text(EXCHANGE) or "").startswith("9999-12-31")


def test_a_failure_in_the_middle_of_an_expiry_leaves_nothing_that_is_delivered_later() -> None:
    world = asked(World(deadline=HOUR))
    world.clock.now += HOUR

    async def broken(moment: str, operation: str) -> None:
        if operation.startswith("move a/pending/"):
            raise OSError(5, "Input/output error")

    world.disk.guard = broken
    with pytest.raises(OSError, match="Input/output"):
        look(world)
    assert set(world.files("a/collected")) == {f"{EXCHANGE}~problem"}
    world.disk.guard = _let_pass
    to_rest(world, roles="b")
    to_rest(world)  # The answer was there first, after all.
    world.check_end()
    world.start("a")
    to_rest(world)
    assert world.files("a/failed") == {}


async def _let_pass(moment: str, operation: str) -> None:
    """Nothing is in the way."""
