"""What reports and problem documents say, and when they go."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.names import marker_of, ulid_of
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.quarantine import label_of
from roundtrip.roles.responder import Responder
from roundtrip.roles.wishes import wish
from tests.roles.driver import to_rest
from tests.roles.world import EXCHANGE, ORIGINAL, World

NAME = "orders.csv"
MARKER = marker_of(NAME)
STRANGE = "no name \n.csv.done"


def report(world: World, name: str = NAME) -> dict[str, object]:
    found: dict[str, object] = json.loads(world.files("b/quarantine")[f"{label_of(name)}.json"])
    return found


def held(answers: int = 1) -> World:
    """A request that was answered as often as B answers, and asks again."""
    world = World(answers=answers)
    world.files("unenriched").update({NAME: ORIGINAL, MARKER: b""})
    for _ in range(answers + 1):
        world.files("enriched").clear()
        to_rest(world, NAME, roles="b")
    assert world.files("enriched") == {}
    return world


def responder(world: World) -> Responder:
    found = world.roles["b"]
    assert isinstance(found, Responder)
    return found


def rescanned(world: World) -> None:
    async def all_of_it() -> None:
        for name in await responder(world).rescan():
            await responder(world).look(name)

    asyncio.run(all_of_it())


def test_a_held_request_is_reported_with_what_was_asked_and_answered() -> None:
    found = report(held(2))
    assert (found["kind"], found["v"], found["name"]) == ("held", 1, NAME)
    evidence = found["evidence"]
    assert isinstance(evidence, dict)
    assert (evidence["given"], evidence["limit"], evidence["attempt"]) == (2, 2, 1)
    assert evidence["asked"]["size"] == len(ORIGINAL)
    assert evidence["answered"]["outcome"] == "enriched"
    assert base64.b64decode(evidence["files"]["request"]["head_base64"]) == ORIGINAL


def test_only_the_beginning_of_a_payload_is_kept_as_evidence() -> None:
    world = World()
    world.files("unenriched").update({STRANGE: b"m" * 10_000, "no name \n.csv": b"p" * 10_000})
    world.start("b")
    asyncio.run(responder(world).look(STRANGE))
    files = report(world, STRANGE)["evidence"]["files"]  # type: ignore[index]
    assert len(base64.b64decode(files["request marker"]["head_base64"])) == 4096
    assert len(base64.b64decode(files["request"]["head_base64"])) == 256


def test_a_wish_counts_answers_from_zero_without_enriching_again() -> None:
    world = held(2)
    paid = world.enriched.total()
    asyncio.run(wish(world.disk.folder("b/retry"), NAME))
    world.start("b")
    rescanned(world)
    to_rest(world, NAME, roles="b")  # Its empty marker has to settle again.
    assert NAME in world.files("enriched") and world.files("b/quarantine") == {}
    assert world.enriched.total() == paid and world.files("b/retry") == {}
    for _ in range(2):
        world.files("enriched").clear()
        to_rest(world, NAME, roles="b")
    assert report(world)["kind"] == "held", "and then it is held again"


def test_a_wish_for_a_strange_name_makes_its_report_anew() -> None:
    world = World()
    world.files("unenriched")[STRANGE] = b"old"
    world.start("b")
    rescanned(world)
    world.files("unenriched")[STRANGE] = b"new"
    rescanned(world)
    files = report(world, STRANGE)["evidence"]["files"]  # type: ignore[index]
    assert base64.b64decode(files["request marker"]["head_base64"]) == b"old"
    asyncio.run(wish(world.disk.folder("b/retry"), STRANGE))
    rescanned(world)
    files = report(world, STRANGE)["evidence"]["files"]  # type: ignore[index]
    assert base64.b64decode(files["request marker"]["head_base64"]) == b"new"


@pytest.mark.parametrize("name", [NAME, STRANGE])
def test_a_report_goes_when_its_request_went_while_b_was_down(name: str) -> None:
    world = World()
    world.files("unenriched")[name if name == STRANGE else MARKER] = b""
    to_rest(world, name, roles="b")
    report(world, name)
    world.files("unenriched").clear()
    world.start("b")
    rescanned(world)
    assert world.files("b/quarantine") == {}


def test_a_strange_names_report_goes_with_it() -> None:
    world = World()
    world.files("unenriched")[STRANGE] = b""
    world.start("b")
    asyncio.run(responder(world).look(STRANGE))
    world.files("unenriched").clear()
    assert responder(world).notice(STRANGE, removed=True) == STRANGE
    asyncio.run(responder(world).look(STRANGE))
    assert world.files("b/quarantine") == {}


# A's problem documents


def failing(document: bytes) -> World:
    """An exchange of pipeline `geo` to which B answers `failed` with this document."""
    world = World()
    world.want(content=document, original_name="my orders.csv", pipeline="geo")
    world.enrich = lambda content: Answer(Outcome.FAILED, {}, "geo")
    to_rest(world)
    return world


def test_bs_problem_document_gets_what_is_needed_to_send_the_original_again() -> None:
    # The world's enrichment answers in upper case what it was sent.
    world = failing(b'{"A": 1}')
    found = json.loads(world.files("a/failed")["my orders.csv.problem.json"])
    assert found["A"] == 1 and found["instance"] == EXCHANGE
    assert found["request"] == {"original_name": "my orders.csv", "pipeline": "geo", "attempt": 1}


@pytest.mark.parametrize("document", [b"X", b"[1]", b"", b'{"A": "' + b"X" * 70_000 + b'"}'])
def test_what_is_no_problem_document_is_kept_as_evidence_in_one(document: bytes) -> None:
    world = failing(document)
    found = json.loads(world.files("a/failed")["my orders.csv.problem.json"])
    assert found["request"]["pipeline"] == "geo" and found["instance"] == EXCHANGE
    head = base64.b64decode(found["evidence"]["files"]["answer"]["head_base64"])
    assert head == document[:4096]
    assert len(world.files("a/failed")["my orders.csv.problem.json"]) < 20_000


def test_the_answer_that_was_refused_last_is_evidence() -> None:
    world = World(attempts=1)
    world.want()
    to_rest(world, roles="a")
    to_rest(world, roles="b")
    world.files("enriched")[EXCHANGE] = b"damaged"
    to_rest(world)
    found = json.loads(world.files("a/failed")["orders.csv.problem.json"])
    assert found["type"].endswith("no-usable-answer") and found["evidence"]["attempt"] == 1
    files = found["evidence"]["files"]
    assert base64.b64decode(files["answer"]["head_base64"]) == b"damaged"
    assert b'"outcome"' in base64.b64decode(files["answer marker"]["head_base64"])


@pytest.mark.parametrize("taken", ["orders.csv", "orders.csv.problem.json"])
def test_a_failed_original_and_its_document_have_one_name(taken: str) -> None:
    world = World()
    world.files("a/failed")[taken] = b"another's"
    world.want()
    world.enrich = lambda content: Answer(Outcome.FAILED, {}, "upper")
    to_rest(world)
    name = f"orders.{ulid_of(EXCHANGE)}.csv"
    assert set(world.files("a/failed")) == {taken, name, f"{name}.problem.json"}


@pytest.mark.parametrize("taken", [None, "orders.csv", "orders.csv.problem.json"])
def test_they_have_one_name_also_where_a_kill_came_between_them(taken: str | None) -> None:
    world = World()
    others = {} if taken is None else {taken: b"another's"}
    original = "orders.csv" if taken is None else f"orders.{ulid_of(EXCHANGE)}.csv"
    world.files("a/failed").update({**others, original: ORIGINAL})
    world.files("a/collected")[f"{EXCHANGE}~problem"] = b"{}"
    to_rest(world, roles="a")
    assert set(world.files("a/failed")) == {*others, original, f"{original}.problem.json"}


def test_a_copy_whose_original_was_taken_away_is_no_delivery() -> None:
    world = World()
    world.files("a/collected")[EXCHANGE] = b"half an ans"
    world.start("a")

    async def begun() -> None:
        await world.roles["a"].start()
        for name in await world.roles["a"].rescan():
            await world.roles["a"].look(name)

    asyncio.run(begun())
    assert world.files("a/inbox") == {} == world.files("a/collected")
