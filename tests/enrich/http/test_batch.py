"""Many records in one call: each gets its own answer, and no bad one takes others with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich.settings import Auth, Batch
from tests.enrich.http.conftest import Ask, error


def echo(api: Any, bad: tuple[Any, ...] = (), status: int = 422) -> None:
    """An API that answers each item with itself, and refuses a batch that holds a bad one."""

    async def answer(request: web.Request) -> web.Response:
        items = json.loads(await request.text())
        if any(item in bad for item in items):
            return web.Response(status=status, text="SECRET")
        return web.json_response([{"got": item} for item in items])

    api.answer = answer


def numbers(count: int) -> list[dict[str, Any]]:
    return [{"ip": number, "other": "no"} for number in range(count)]


async def test_records_go_together_and_answers_come_back_by_position(api: Any, ask: Ask) -> None:
    echo(api)
    batch = Batch(4, item="{ip}")
    found = await ask("/x", *numbers(10), method="POST", batch=batch, select={"n": "got"})
    assert found == [{"n": number} for number in range(10)]
    assert [json.loads(body) for _, _, body, _ in api.seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert api.seen[0][3]["Content-Type"] == "application/json"
    assert ask.stats.calls == 3  # type: ignore[attr-defined]


async def test_without_item_the_fields_of_send_go(api: Any, ask: Ask) -> None:
    echo(api)
    await ask("/x", *numbers(2), method="POST", batch=Batch(9), send=("ip",))
    assert json.loads(api.seen[0][2]) == [{"ip": 0}, {"ip": 1}]


async def test_items_stand_where_the_step_says(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        items = (await request.json())["data"]["items"]
        return web.json_response({"results": [item["q"] for item in items]})

    api.answer = answer
    batch = Batch(9, item={"q": "{ip}"}, results="results")
    template = {"data": {"items": "{batch}", "mode": "fast"}}
    found = await ask("/x", *numbers(3), method="POST", json=template, batch=batch)
    assert found == [0, 1, 2]
    assert json.loads(api.seen[0][2])["data"]["mode"] == "fast"


async def test_answers_are_found_by_a_value_in_them(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        keys = request.query["ids"].split(",")
        rows = [{"id": key, "v": f"v{key}"} for key in reversed(keys) if key != "b"]
        return web.json_response({"data": rows})

    api.answer = answer
    batch = Batch(9, by="id", key="{k}", results="data")
    records = [{"k": "a"}, {"k": "b"}, {"k": "c d"}]
    found = await ask("/x", *records, query={"ids": "{batch}"}, batch=batch, select={"v": "v"})
    assert [api.seen[0][0], api.seen[0][1]] == ["GET", "/x?ids=a,b,c%20d"]
    assert (found[0], found[2]) == ({"v": "va"}, {"v": "vc d"})
    assert error(found[1]).startswith("Missing answer")


@pytest.mark.parametrize("place", ["path", "form", "body"])
async def test_keys_may_stand_in_any_text(api: Any, ask: Ask, place: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"1": "one", "2": "two"})

    api.answer = answer
    batch = Batch(9, by="keys", key="{ip}")
    settings: dict[str, Any] = {"method": "POST", "batch": batch}
    if place != "path":
        settings |= {"form": {"ids": "{batch}"}} if place == "form" else {"body": "ids={batch}"}
    path = "/x/{batch}" if place == "path" else "/x"
    assert await ask(path, {"ip": 1}, {"ip": 2}, **settings) == ["one", "two"]
    ((_, found, body, _),) = api.seen
    sent = {"path": "/x/1,2", "form": "ids=1%2C2", "body": "ids=1,2"}[place]
    assert sent in (found, body.decode())


@pytest.mark.parametrize("status", [400, 413, 414, 422])
async def test_one_bad_record_does_not_fail_the_others(api: Any, ask: Ask, status: int) -> None:
    echo(api, bad=(5,), status=status)
    found = await ask("/x", *numbers(8), method="POST", batch=Batch(8, item="{ip}"))
    assert found[5]["error"]["status"] == status
    assert [value for value in found if "error" not in value] == [
        {"got": number} for number in range(8) if number != 5
    ]
    assert [len(json.loads(body)) for _, _, body, _ in api.seen] == [8, 4, 4, 2, 1, 1, 2]


@pytest.mark.parametrize("status", [401, 404, 409])
async def test_other_refusals_are_not_halved(api: Any, ask: Ask, status: int) -> None:
    echo(api, bad=(1,), status=status)
    found = await ask("/x", *numbers(4), method="POST", batch=Batch(4, item="{ip}"))
    assert {value["error"]["status"] for value in found} == {status}
    assert len(api.seen) == 1


@pytest.mark.parametrize("answer", [[1, 2], [1, 2, 3, 4], {"a": 1}, "x", None])
async def test_by_position_a_wrong_number_of_answers_is_nobodys(
    api: Any, ask: Ask, answer: Any
) -> None:
    async def answering(request: web.Request) -> web.Response:
        return web.json_response(answer)

    api.answer = answering
    found = await ask("/x", *numbers(3), method="POST", batch=Batch(3, item="{ip}"))
    assert all(error(value).startswith("Unusable answer") for value in found)


async def test_an_items_own_error_is_a_value_for_select(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response([{"v": 1}, {"error": "unknown"}, None])

    api.answer = answer
    select = {"v": "v", "why": "error"}
    found = await ask("/x", *numbers(3), method="POST", batch=Batch(3, item="{ip}"), select=select)
    assert found == [
        {"v": 1, "why": None}, {"v": None, "why": "unknown"}, {"v": None, "why": None},
    ]  # fmt: skip


async def test_a_record_without_its_field_is_not_in_the_batch(api: Any, ask: Ask) -> None:
    echo(api)
    records = [{"ip": 1}, {}, {"ip": 2}]
    found = await ask("/x", *records, method="POST", batch=Batch(9, item="{ip}"))
    assert "Missing field" in error(found[1])
    assert json.loads(api.seen[0][2]) == [1, 2]


async def test_the_shown_batch_is_the_one_that_is_sent(api: Any, ask: Ask, compiled: Any) -> None:
    echo(api)
    settings = {
        "method": "POST",
        "batch": Batch(9, item="{ip}"),
        "auth": Auth("bearer", secret="t"),
    }
    await ask("/x?a=1", *numbers(3), **settings)
    step = compiled(api.url + "/x?a=1", **settings)
    shown = step.shown_together([step.call(record) for record in numbers(3)])
    ((method, path, body, headers),) = api.seen
    assert (shown.method, shown.url, shown.body) == (method, api.url + path, body)
    assert {name.title() for name, _ in shown.headers} == {name.title() for name in headers}
    assert step.call({"ip": 7}).shown().body == b"[7]"


async def test_a_repeated_batch_carries_the_same_key_for_repeating(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503) if len(api.seen) == 1 else web.json_response([1, 2])

    api.answer = answer
    assert await ask("/x", *numbers(2), method="POST", batch=Batch(2, item="{ip}")) == [1, 2]
    assert len({headers["Idempotency-Key"] for _, _, _, headers in api.seen}) == 1


ELSEWHERE = [
    {"path": "/v2?ids={batch}"},
    {"path": "/v1?ids={batch}&more=1"},
    {"path": "/v1?ids={batch}", "headers": {"x": "y"}},
    {"path": "/v1?ids={batch}", "auth": Auth("bearer", secret="other")},
]


@pytest.mark.parametrize("change", ELSEWHERE)
async def test_a_cached_answer_of_another_place_is_never_taken(
    api: Any, ask: Ask, change: dict[str, Any]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(dict.fromkeys(request.query["ids"].split(","), len(api.seen)))

    api.answer = answer
    same: dict[str, Any] = {"batch": Batch(9, by="keys", key="{ip}"), "cache": 60.0}
    assert await ask("/v1?ids={batch}", *numbers(2), **same) == [1, 1]
    assert await ask("/v1?ids={batch}", *numbers(2), **same) == [1, 1]
    assert await ask(change.pop("path"), *numbers(2), **same, **change) == [2, 2]


async def test_a_cached_answer_to_another_body_is_never_taken(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response([asked["mode"]] * len(asked["items"]))

    api.answer = answer
    same: dict[str, Any] = {"method": "POST", "batch": Batch(9, item="{ip}"), "cache": 60.0}
    for mode in ("fast", "good"):
        template = {"items": "{batch}", "mode": mode}
        assert await ask("/x", *numbers(2), json=template, **same) == [mode, mode]
