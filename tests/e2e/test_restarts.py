"""Either agent is away for a while, or killed in some stage: the result arrives all the same."""

from __future__ import annotations

from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.payloads import sample
from tests.e2e.world import World, visible, wait_until

ASKED = sample(Random(8), "orders.csv", 3000)


def _over(world: World) -> None:
    assert world.result(ASKED.name) == ASKED.result
    world.wait_closed()
    world.wait_swept()
    assert visible(world.inbox) == [ASKED.name]


def test_what_is_sent_while_agent_a_is_down_arrives_after_its_start(world: World) -> None:
    path = world.folder / ASKED.name
    path.write_bytes(ASKED.content)
    done = world.a.run("send", path)
    assert done.returncode == 0
    assert b"no agent" in done.stderr
    world.start()
    _over(world)


def test_requests_wait_while_agent_b_is_down(world: World) -> None:
    world.a.start()
    world.drop(ASKED.name, ASKED.content)
    wait_until(lambda: world.a.events("published"), "A has published")
    world.b.start()
    _over(world)


def test_answers_wait_while_agent_a_is_down(running: World, api: Api) -> None:
    api.hold()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: api.waiting, "B is asking")
    running.a.kill()
    api.release()
    wait_until(lambda: running.b.events("answered"), "B has answered")
    running.a.start()
    _over(running)


def test_a_killed_b_starts_over_with_what_it_was_asking(running: World, api: Api) -> None:
    api.hold()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: api.waiting, "B is asking")
    running.b.kill()
    running.b.start()
    wait_until(lambda: api.waiting, "B is asking again")
    api.release()
    _over(running)


def test_an_answered_request_is_not_enriched_again_by_a_restarted_b(
    running: World, api: Api
) -> None:
    api.hold()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: api.waiting, "B is asking")
    running.a.kill()
    api.release()
    wait_until(lambda: running.b.events("answered"), "B has answered")
    calls = dict(api.calls)
    running.b.kill()
    running.b.start()
    running.a.start()
    _over(running)
    assert api.calls == calls


def test_both_are_killed_and_come_back_in_either_order(running: World, api: Api) -> None:
    api.hold()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: api.waiting, "B is asking")
    running.a.kill()
    running.b.kill()
    api.release()
    running.b.start()
    wait_until(lambda: running.b.events("answered"), "B has answered")
    running.b.kill()
    running.a.start()
    running.b.start()
    _over(running)


def test_what_a_delivered_before_it_was_killed_is_not_delivered_twice(running: World) -> None:
    running.b.kill()
    running.drop(ASKED.name, ASKED.content)
    wait_until(lambda: running.a.events("published"), "A has published")
    running.b.start()
    running.result(ASKED.name)
    running.a.kill()
    (running.inbox / ASKED.name).unlink()  # Its application took it.
    running.a.start()
    running.wait_closed()
    assert not visible(running.inbox)


@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_large_payload_survives_a_kill_while_it_is_copied(victim: str, running: World) -> None:
    asked = sample(Random(9), "large.bin", 48 * 1024 * 1024)
    running.drop(asked.name, asked.content)
    host, share = (
        (running.a, running.unenriched) if victim == "a" else (running.b, running.enriched)
    )
    wait_until(lambda: list(share.glob(".*.part")), "a copy is being made")
    host.kill()
    host.start()
    assert running.result(asked.name, 40) == asked.result
    running.wait_closed()
    running.wait_swept()
