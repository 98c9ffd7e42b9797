"""What the requester does with answers that are not just enriched files."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from roundtrip.protocol.markers import Outcome, ResponseMarker
from roundtrip.protocol.names import Namer, marker_of
from roundtrip.protocol.problem import Problem
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.requester import Requester
from roundtrip.roles.ticket import Ticket
from tests.roles.driver import snapshot, to_rest
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, World

MARKER = marker_of(EXCHANGE)


def answered_world(**settings: Any) -> World:
    """A has published, B has answered, A has not looked yet."""
    world = World(**settings)
    world.want()
    to_rest(world, roles="a")
    to_rest(world, roles="b")
    assert MARKER in world.files("enriched")
    return world


def rewrite_marker(world: World, **changes: Any) -> None:
    marker = json.loads(world.files("enriched")[MARKER]) | changes
    world.files("enriched")[MARKER] = json.dumps(marker).encode()


def test_a_result_never_overwrites_what_lies_in_the_inbox() -> None:
    world = World()
    world.want()
    world.files("a/inbox")["orders.csv"] = b"an older result"
    to_rest(world)
    assert world.files("a/inbox") == {
        "orders.csv": b"an older result",
        "orders.01ARZ3NDEKTSV4RRFFQ69G5FAV.csv": ENRICHED,
    }


def test_the_original_name_comes_back_even_if_no_exchange_could_have_it() -> None:
    world = World()
    world.want(original_name="Bestellung Ü\udcff\n3.csv")
    to_rest(world)
    assert world.files("a/inbox") == {"Bestellung Ü\udcff\n3.csv": ENRICHED}
    assert world.left() == {}


def test_a_failed_answer_puts_original_and_problem_document_into_failed() -> None:
    world = World()
    world.want()
    world.enrich = lambda content: Answer(Outcome.FAILED, {}, "upper")
    to_rest(world)
    document = json.loads(world.files("a/failed").pop("orders.csv.problem.json"))
    assert world.files("a/failed") == {"orders.csv": ORIGINAL}
    assert document["request"] == {"original_name": "orders.csv", "pipeline": None, "attempt": 1}
    head = document["evidence"]["files"]["answer"]["head_base64"]
    assert base64.b64decode(head) == ENRICHED, "no problem document: B's bytes are evidence"
    assert world.files("a/inbox") == {} == world.left()


@pytest.mark.parametrize(
    "damage",
    [
        lambda world: world.files("enriched").update({EXCHANGE: b"torn"}),
        lambda world: world.files("enriched").update({EXCHANGE: ENRICHED[:-1] + b"?"}),
        lambda world: world.files("enriched").update({MARKER: b"{"}),
        lambda world: world.files("enriched").update({MARKER: b""}),
        lambda world: world.files("enriched").update({MARKER: b" " * 70_000}),
        lambda world: rewrite_marker(world, request={"size": 1, "sha256": "0" * 64, "attempt": 1}),
        lambda world: rewrite_marker(world, exchange="another"),
        lambda world: rewrite_marker(world, outcome="wonderful"),
        lambda world: rewrite_marker(world, size=10**18),
    ],
    ids=[
        "short payload", "altered payload", "half a marker", "empty marker", "huge marker",
        "answer to another content", "another exchange's marker", "unknown outcome",
        "impossible size",
    ],
)  # fmt: skip
def test_an_unusable_answer_is_refused_and_asked_for_again(damage: Any) -> None:
    world = answered_world()
    damage(world)
    to_rest(world)
    world.check_end()
    assert world.enriched[EXCHANGE] == 2


def test_an_answer_that_is_only_late_is_not_refused() -> None:
    world = answered_world()
    whole = world.files("enriched")[EXCHANGE]
    world.files("enriched")[EXCHANGE] = whole[:3]
    look = world.roles["a"].look(EXCHANGE)
    with pytest.raises(StopIteration) as ended:
        look.send(None)
    assert ended.value.value == pytest.approx(1.0), "it looks again after the settle time"
    world.files("enriched")[EXCHANGE] = whole
    to_rest(world)
    world.check_end()
    assert world.enriched[EXCHANGE] == 1


def test_answers_that_stay_unusable_end_in_failed_after_so_many_attempts() -> None:
    world = World(attempts=3)
    world.want()
    world.enrich = lambda content: Answer(Outcome.RESEND, {}, "upper")
    to_rest(world)
    assert world.files("a/failed")["orders.csv"] == ORIGINAL
    document = world.files("a/failed")["orders.csv.problem.json"]
    assert "Published 3 times" in Problem.decode(document, EXCHANGE).detail
    assert world.left() == {}


def test_each_attempt_says_which_it_is() -> None:
    world = World()
    world.want()
    asked: list[int] = []

    def enrich(content: bytes) -> Answer | None:
        asked.append(json.loads(world.files("unenriched")[MARKER])["attempt"])
        return Answer(Outcome.RESEND, {}, "upper") if len(asked) < 3 else None

    world.enrich = enrich
    to_rest(world)
    world.check_end()
    assert asked == [1, 2, 3]


def test_an_answer_nobody_asked_for_is_swept_and_never_delivered() -> None:
    world = answered_world()
    del world.files("a/pending")[EXCHANGE]
    world.start("a")
    to_rest(world)
    assert world.files("a/inbox") == {} == world.left()


def test_a_request_that_vanished_from_the_share_is_published_again() -> None:
    world = World()
    world.want()
    to_rest(world, roles="a")
    world.files("unenriched").clear()
    to_rest(world)
    world.check_end()


def test_a_payload_torn_on_its_way_is_sent_again() -> None:
    world = World()
    world.want()
    to_rest(world, roles="a")
    world.files("unenriched")[EXCHANGE] = ORIGINAL[:5]
    to_rest(world)
    world.check_end()
    assert world.enriched[EXCHANGE] == 1, "what was torn was never enriched"


def test_an_original_that_grew_after_it_was_published_is_sent_again() -> None:
    world = answered_world()
    grown = ORIGINAL + b"2,FR\n"
    world.files("a/pending")[EXCHANGE] = grown
    world.disk.touch("a/pending", EXCHANGE)
    to_rest(world)
    assert world.files("a/inbox") == {"orders.csv": grown.upper()}
    assert world.left() == {}


def test_whoever_waits_finds_a_record_of_the_outcome_and_the_path() -> None:
    world = World()
    world.want(original_name="orders.csv", reply=True)
    to_rest(world)
    record = json.loads(world.files("a/outcomes")[f"{EXCHANGE}.json"])
    assert record["outcome"] == "enriched"
    assert record["path"] == "a/inbox/orders.csv"


def test_two_exchanges_with_the_same_name_and_content_both_come_back() -> None:
    world = World()
    other = EXCHANGE.replace("FAV", "FAW")
    world.want()
    world.want(other)
    to_rest(world, EXCHANGE, other)
    assert sorted(world.files("a/inbox").values()) == [ENRICHED, ENRICHED]
    assert world.left() == {}


def test_an_answer_says_which_request_it_answers() -> None:
    world = answered_world()
    marker = ResponseMarker.decode(world.files("enriched")[MARKER], EXCHANGE)
    assert marker.request.size == len(ORIGINAL)
    assert marker.attempt == 1


def test_a_rescan_finds_what_events_never_told() -> None:
    world = answered_world()
    before = snapshot(world)
    assert asyncio.run(world.roles["a"].rescan()) == [EXCHANGE]
    assert snapshot(world) == before


def test_a_fresh_exchange_is_published_once_however_often_it_is_looked_at() -> None:
    world = World()
    world.start("a")
    world.want()
    requester = world.roles["a"]
    assert isinstance(requester, Requester)
    requester.adopt(EXCHANGE)
    asyncio.run(requester.look(EXCHANGE))
    published = snapshot(world)
    asyncio.run(requester.look(EXCHANGE))
    assert snapshot(world) == published
    to_rest(world)
    world.check_end()


def test_an_original_that_grows_while_it_is_copied_is_copied_again() -> None:
    world = World()
    world.want()
    grown = ORIGINAL + b"2,FR\n"

    async def guard(moment: str, operation: str) -> None:
        if moment == "after" and operation == f"rename unenriched/{EXCHANGE}":
            world.files("a/pending")[EXCHANGE] = grown
            world.disk.touch("a/pending", EXCHANGE)
            world.disk.guard = unguarded

    world.start("a")
    asyncio.run(world.roles["a"].start())
    world.disk.guard = guard
    assert asyncio.run(world.roles["a"].look(EXCHANGE)) == pytest.approx(1.0)
    assert world.files("unenriched") == {}, "nothing that nobody may mark is left"
    to_rest(world)
    assert world.files("a/inbox") == {"orders.csv": grown.upper()}


async def unguarded(moment: str, operation: str) -> None:
    """Let everything pass."""


def test_the_archive_forgets_what_is_older_than_it_keeps() -> None:
    world = World(archive_keep=3600.0)
    now = Namer()("new.csv")
    world.files("a/archive").update({EXCHANGE: ORIGINAL, now: ORIGINAL, "by hand.csv": b""})
    world.start("a")

    async def rescanned() -> None:
        await world.roles["a"].rescan()
        await world.roles["a"].cleaned()

    asyncio.run(rescanned())
    assert sorted(world.files("a/archive")) == sorted([now, "by hand.csv"])


def test_exchanges_of_other_requesters_are_left_alone() -> None:
    world = World()
    world.files("unenriched").update({"orders.csv": b"x", "orders.csv.done": b""})
    world.files("enriched").update({"orders.csv": b"y", "orders.csv.done": b""})
    world.start("a")
    requester = world.roles["a"]
    assert asyncio.run(requester.rescan()) == []
    assert requester.notice("orders.csv.done", removed=False) is None


def test_an_original_taken_away_by_hand_withdraws_the_request() -> None:
    world = answered_world()
    del world.files("a/pending")[EXCHANGE]
    to_rest(world)
    assert world.files("a/inbox") == {} == world.left()


def test_an_adopted_original_taken_away_by_hand_leaves_nothing_in_memory() -> None:
    world = World()
    world.start("a")
    requester = world.roles["a"]
    assert isinstance(requester, Requester)
    requester.adopt(EXCHANGE, Ticket("orders.csv"))
    assert asyncio.run(requester.look(EXCHANGE)) == 0.0
    assert asyncio.run(requester.look(EXCHANGE)) is None
    assert requester.pending == set() == requester._fresh
    assert requester._tickets._known == {}
