"""What a new life of A makes of the private copies that the last one left."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.names import marker_of
from roundtrip.protocol.problem import Problem
from roundtrip.roles.enrichment import Answer
from tests.roles.driver import to_rest
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, World

COPY = f"{EXCHANGE}~problem"
DOCUMENT = Problem("pipeline", "No", "not this one", EXCHANGE).encode()


def test_an_unverified_problem_of_an_original_that_was_taken_away_is_dropped() -> None:
    """It may be half a copy, and nobody waits for it."""
    world = World()
    world.files("a/collected")[COPY] = b'{"type": "ab'
    world.files("a/tickets")[f"{EXCHANGE}.json"] = b'{"original_name": "orders.csv"}'
    to_rest(world)
    assert world.files("a/failed") == {}
    asyncio.run(world.roles["a"].rescan())  # Which tidies up.
    assert world.left() == {}


@pytest.mark.parametrize("other", [{}, {"orders.csv": b"x", "orders.csv.problem.json": b"{}"}])
def test_a_problem_whose_original_lies_in_failed_already_is_put_beside_it(
    other: dict[str, bytes],
) -> None:
    world = World()
    name = "orders.01ARZ3NDEKTSV4RRFFQ69G5FAV.csv" if other else "orders.csv"
    world.files("a/failed").update({**other, name: ORIGINAL})
    world.files("a/collected")[COPY] = DOCUMENT
    to_rest(world)
    expected = {**other, name: ORIGINAL, f"{name}.problem.json": DOCUMENT}
    assert world.files("a/failed") == expected
    assert world.left() == {}


def answered(pipeline: str | None, made_by: str, outcome: Outcome) -> World:
    """A asked for `pipeline`; B's marker says that `made_by` made the answer, every time."""
    world = World(attempts=2)
    world.want(original_name="orders.csv", pipeline=pipeline)
    world.enrich = lambda content: Answer(outcome, {}, made_by)
    to_rest(world)
    return world


def failed(world: World) -> Any:
    return json.loads(world.files("a/failed")["orders.csv.problem.json"])


@pytest.mark.parametrize("outcome", [Outcome.ENRICHED, Outcome.PARTIAL])
def test_an_answer_from_another_pipeline_than_the_one_asked_for_is_not_delivered(
    outcome: Outcome,
) -> None:
    """Nothing but its content covers a request's marker: B may have read another word there."""
    world = answered("geo", "default", outcome)
    assert world.files("a/inbox") == {}
    assert "comes from the pipeline 'default', not 'geo'" in failed(world)["detail"]
    assert world.enriched[EXCHANGE] == 2, "it was asked for again"


@pytest.mark.parametrize(("pipeline", "made_by"), [("geo", "geo"), (None, "any"), ("geo", "")])
def test_an_answer_from_the_pipeline_asked_for_or_from_a_silent_responder_is_delivered(
    pipeline: str | None, made_by: str
) -> None:
    world = answered(pipeline, made_by, Outcome.ENRICHED)
    assert world.files("a/inbox") == {"orders.csv": ENRICHED}
    assert marker_of(EXCHANGE) not in world.files("unenriched")
