"""What B has paid for it never pays for again, whenever it is killed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.api import Api, item
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import visible, wait_until

RECORDS = 10_000
CONCURRENCY = 20
AT_A_TIME = 2 * CONCURRENCY
"""Calls of which a kill may cost the answer: under way, or come and just being written down."""

KEYS = [f"k{number}" for number in range(RECORDS)]
ASKED = b"".join(json.dumps({"key": key, "n": 2**70}).encode() + b"\n" for key in KEYS)


def pipeline(api: Api, method: str) -> dict[str, Any]:
    http: dict[str, Any] = {"method": method, "url": f"{api.url}/item/{{key}}"}
    if method == "POST":
        http = {"method": method, "url": f"{api.url}/echo/{{key}}", "json": {"key": "{key}"}}
    step = {"name": "item", "http": http, "concurrency": CONCURRENCY}
    return {"pipelines": {"items": {"steps": [step]}}}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_killed_b_resumes_in_the_middle_and_pays_for_nothing_twice(
    make_world: MakeWorld, api: Api, method: str
) -> None:
    world = make_world(b=pipeline(api, method))
    world.start()
    world.drop("many.jsonl", ASKED)
    kills = (500, 4000, 9000)
    for calls in kills:
        wait_until(lambda calls=calls: len(api.calls) >= calls, f"{calls} calls", 60)
        world.b.kill()
        world.b.start()
    answer = [json.loads(line) for line in world.result("many.jsonl", 90).splitlines()]
    expected = [item(key) if method == "GET" else {"key": key} for key in KEYS]
    assert [(record["key"], record["n"]) for record in answer] == [(key, 2**70) for key in KEYS]
    assert [record["item"] for record in answer] == expected
    assert len(api.calls) == RECORDS
    again = [name for name, count in api.calls.items() if count > 1]
    assert len(again) <= len(kills) * AT_A_TIME, f"{len(again)} calls were made twice"
    assert max(api.calls.values()) <= 1 + len(kills)
    if method == "POST":
        assert all(len(keys) == 1 and "" not in keys for keys in api.idempotency_keys.values())
    world.wait_closed()
    wait_until(lambda: not visible(world.b.folder("state/kept")), "B has forgotten the answer")


@pytest.mark.timeout(120)
def test_a_stopped_b_is_quick_and_pays_for_nothing_twice(make_world: MakeWorld, api: Api) -> None:
    world = make_world(b=pipeline(api, "POST"))
    world.start()
    world.drop("many.jsonl", ASKED)
    for calls in (500, 3000):
        wait_until(lambda calls=calls: len(api.calls) >= calls, f"{calls} calls", 60)
        began = time.monotonic()
        assert world.b.stop() == 0
        assert time.monotonic() - began < 6, "it waited for the end of the file"
        assert len(api.calls) < RECORDS
        world.b.start()
    answer = [json.loads(line) for line in world.result("many.jsonl", 90).splitlines()]
    assert [record["item"] for record in answer] == [{"key": key} for key in KEYS]
    assert set(api.calls.values()) == {1}


@pytest.mark.timeout(120)
def test_two_exchanges_share_their_calls_and_one_that_is_withdrawn_ends_none_of_them(
    make_world: MakeWorld, api: Api
) -> None:
    world = make_world(b=pipeline(api, "POST"))
    world.start()
    asked = b"".join(ASKED.splitlines(keepends=True)[:50])

    def begun() -> set[str]:
        return {path.name[1:].rsplit(".", 2)[0] for path in world.enriched.glob(".*.progress")}

    api.hold()
    world.drop("first.jsonl", asked)
    wait_until(lambda: begun() and api.waiting == CONCURRENCY, "the first one's calls")
    (first,) = visible(world.a.folder("state/pending"))
    world.drop("second.jsonl", asked)
    wait_until(lambda: begun() - {first}, "the second one")
    world.a.folder(f"state/pending/{first}").unlink()
    (world.unenriched / f"{first}.done").unlink()
    wait_until(lambda: first not in begun(), "B's end of it")
    api.release()
    assert len(world.result("second.jsonl").splitlines()) == 50
    assert set(api.calls.values()) == {1}
