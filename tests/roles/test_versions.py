"""One side newer than the other: it goes on working, or says exactly why not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import Outcome, RequestMarker, ResponseMarker
from roundtrip.protocol.names import marker_of
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.versions import NewerProtocol
from roundtrip.roles.requester import Requester
from tests.roles.driver import to_rest
from tests.roles.test_deadlines import asked, look
from tests.roles.world import EXCHANGE, ORIGINAL, World

MARKER = marker_of(EXCHANGE)
FUTURE = {"priority": "high", "digest": {"blake3": "00"}, "signature_v2": [1, 2], "size_hint": None}


def rewrite(world: World, share: str, **changes: Any) -> None:
    marker = json.loads(world.files(share)[MARKER]) | changes
    world.files(share)[MARKER] = json.dumps(marker).encode()


def published(**settings: Any) -> World:
    world = World(**settings)
    world.want()
    to_rest(world, roles="a")
    return world


def test_keys_of_a_newer_side_are_ignored_both_ways() -> None:
    world = published()
    rewrite(world, "unenriched", **FUTURE)
    to_rest(world, roles="b")
    rewrite(world, "enriched", **FUTURE)
    to_rest(world)
    world.check_end()


def test_a_request_in_a_newer_protocol_is_answered_with_what_to_do() -> None:
    world = published()
    rewrite(world, "unenriched", v=2, sha256={"blake3": "another kind of digest"})
    to_rest(world, roles="b")
    answer = ResponseMarker.decode(world.files("enriched")[MARKER], EXCHANGE)
    problem = Problem.decode(world.files("enriched")[EXCHANGE], EXCHANGE)
    assert answer.outcome is Outcome.FAILED
    assert answer.request.size == len(ORIGINAL), "it names the payload, so that A takes it"
    assert problem.kind == "version"
    assert "speaks protocol 2; this side (this version) speaks 1: upgrade host B" in problem.detail
    assert world.enriched == {}


def test_an_answer_in_a_newer_protocol_waits_and_costs_no_attempt() -> None:
    world = published(attempts=2)
    to_rest(world, roles="b")
    whole = world.files("enriched")[MARKER]
    rewrite(world, "enriched", v=2)
    for _ in range(10):
        world.clock.now += 1000.0
        assert look(world) is None, "nothing to do until this host is upgraded: nobody wakes for it"
    (condition,) = world.health.conditions()
    assert "host B answers in protocol 2; this side (this version) speaks 1" in condition.text
    assert "upgrade host A" in condition.text
    assert json.loads(world.files("unenriched")[MARKER])["attempt"] == 1
    assert world.files("a/pending") == {EXCHANGE: ORIGINAL} and world.files("a/failed") == {}
    world.files("enriched")[MARKER] = whole  # Or rather: A can read it now.
    to_rest(world)
    world.check_end()
    assert world.enriched[EXCHANGE] == 1
    assert world.health.conditions() == []


def test_an_upgraded_requester_takes_the_answers_that_waited() -> None:
    world = published()
    to_rest(world, roles="b")
    whole = world.files("enriched")[MARKER]
    rewrite(world, "enriched", v=2)
    look(world)
    world.start("a")  # The new version, for which v 2 is no news.
    asyncio.run(world.roles["a"].start())
    world.files("enriched")[MARKER] = whole
    to_rest(world, roles="a")
    assert set(world.files("a/inbox")) == {"orders.csv"}


def test_a_deadline_ends_even_what_waits_for_an_upgrade() -> None:
    world = asked(World(deadline=3600.0))
    to_rest(world, roles="b")
    rewrite(world, "enriched", v=2)
    assert look(world) == pytest.approx(3600.0)
    world.clock.now += 3600.0
    to_rest(world)
    assert set(world.files("a/failed")) == {"orders.csv", "orders.csv.problem.json"}
    assert world.health.conditions() == []
    assert world.left() == {}


def test_one_readable_answer_does_not_clear_the_alarm_of_another() -> None:
    world = published()
    to_rest(world, roles="b")
    rewrite(world, "enriched", v=2)
    look(world)
    other = EXCHANGE.replace("FAV", "FAW")
    world.want(other)
    requester = world.roles["a"]
    assert isinstance(requester, Requester)
    requester.adopt(other)
    to_rest(world, other)
    assert set(world.files("a/inbox")) == {"orders.csv"}
    assert world.health.holds("answers")


@pytest.mark.parametrize("marker", [RequestMarker, ResponseMarker])
def test_a_newer_marker_is_told_from_a_broken_one(marker: Any) -> None:
    with pytest.raises(NewerProtocol) as newer:
        marker.decode(b'{"v": 7, "exchange": 5, "outcome": []}', EXCHANGE)
    assert newer.value.spoken == 7
    for broken in (b'{"v": 0}', b'{"v": "2"}', b'{"v": true}', b'{"v": 2.0}', b'{"v": -1}', b"{}"):
        with pytest.raises(UnusableMarker) as error:
            marker.decode(broken, EXCHANGE)
        assert not isinstance(error.value, NewerProtocol), broken


def test_the_alarm_stays_until_the_last_unreadable_answer_is_over() -> None:
    other = EXCHANGE.replace("FAV", "FAW")
    world = World()
    world.want()
    world.want(other)
    to_rest(world, EXCHANGE, other, roles="a")
    to_rest(world, EXCHANGE, other, roles="b")
    answers = dict(world.files("enriched"))
    for name in (EXCHANGE, other):
        marker = json.loads(answers[marker_of(name)]) | {"v": 2}
        world.files("enriched")[marker_of(name)] = json.dumps(marker).encode()
        asyncio.run(world.roles["a"].look(name))
    world.files("enriched")[marker_of(other)] = answers[marker_of(other)]
    to_rest(world, other)
    assert world.health.holds("answers")
    world.files("enriched")[MARKER] = answers[MARKER]
    to_rest(world)
    assert not world.health.holds("answers")
