"""A pipeline's steps as a graph, on a real API: parallel, in order, skipped, with fallbacks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import Pipeline
from roundtrip.enrich.settings import StepSettings
from tests.enrich.steps import http_step


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parsed(out: bytes) -> list[Any]:
    return [json.loads(line) for line in out.splitlines()]


def pipeline(*steps: StepSettings) -> Pipeline:
    return Pipeline("test", steps)


async def test_steps_that_do_not_need_each_other_run_at_the_same_time(
    api: Any, engine: Any
) -> None:
    both = asyncio.Barrier(2)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.wait_for(both.wait(), 10)  # one after the other would never get past this
        return web.json_response(request.path)

    api.answer = answer
    steps = pipeline(http_step("a", api.url + "/a"), http_step("b", api.url + "/b"))
    _, out = await engine.run(steps, "x.jsonl", lines({"ip": 1}))
    assert parsed(out) == [{"ip": 1, "a": "/a", "b": "/b"}]


async def test_answers_are_written_in_the_order_of_steps_whichever_comes_first(
    api: Any, engine: Any
) -> None:
    second = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/b":
            second.set()
        else:
            await second.wait()
        return web.json_response(1)

    api.answer = answer
    steps = pipeline(http_step("a", api.url + "/a"), http_step("b", api.url + "/b"))
    _, out = await engine.run(steps, "x.jsonl", lines({"ip": 1}))
    assert list(parsed(out)[0]) == ["ip", "a", "b"]


async def test_a_step_gets_the_answer_of_the_one_it_names_though_it_stands_before(
    api: Any, engine: Any
) -> None:
    steps = pipeline(
        http_step("weather", api.url + "/in/{geo.location.city}"),
        http_step("geo", api.url + "/geo"),
    )
    await engine.run(steps, "x.jsonl", lines({"ip": 1}))
    assert [path for _, path, _, _ in api.seen] == ["/geo", "/in/K%C3%B6ln"]


async def test_a_step_whose_when_is_false_is_skipped_and_leaves_no_trace(
    api: Any, engine: Any
) -> None:
    steps = pipeline(
        http_step("geo", api.url + "/{ip}", when="country == 'DE'", select={"p": "path"})
    )
    records = lines({"ip": 1, "country": "DE"}, {"ip": 2, "country": "FR"}, {"ip": 3})
    result, out = await engine.run(steps, "x.jsonl", records)
    assert parsed(out) == [
        {"ip": 1, "country": "DE", "geo": {"p": "/1"}},
        {"ip": 2, "country": "FR"},
        {"ip": 3},
    ]
    assert (result.outcome, result.stats.calls) == ("enriched", 1)
    _, table = await engine.run(steps, "x.csv", b"ip,country\n2,FR\n")
    assert table == b"ip,country,geo.p,geo.error\n2,FR,,\n"


async def test_what_waits_for_a_skipped_step_still_runs(api: Any, engine: Any) -> None:
    steps = pipeline(
        http_step("a", api.url + "/a", when="`false`"), http_step("b", api.url + "/b", needs=("a",))
    )
    _, out = await engine.run(steps, "x.jsonl", lines({"ip": 1}))
    assert list(parsed(out)[0]) == ["ip", "b"]


async def failing(request: web.Request) -> web.Response:
    return web.json_response({"p": request.path}, status=404 if "bad" in request.path else 200)


async def test_a_fallback_answers_in_place_of_the_step_that_failed(api: Any, engine: Any) -> None:
    api.answer = failing
    steps = pipeline(
        http_step("geo", api.url + "/{kind}", fallback="second", select={"p": "p"}),
        http_step("second", api.url + "/second/{ip}", select={"p": "p", "q": "p"}),
    )
    records = lines({"ip": 1, "kind": "good"}, {"ip": 2, "kind": "bad"}, {"ip": 3})
    result, out = await engine.run(steps, "x.jsonl", records)
    assert [record["geo"]["p"] for record in parsed(out)] == ["/good", "/second/2", "/second/3"]
    assert result.outcome == "enriched"
    _, table = await engine.run(steps, "x.csv", b"ip,kind\n2,bad\n")
    assert table == b"ip,kind,geo.p,geo.q,geo.error\n2,bad,/second/2,/second/2,\n"


async def test_a_record_fails_with_the_last_fallbacks_error(api: Any, engine: Any) -> None:
    api.answer = failing
    steps = pipeline(
        http_step("geo", api.url + "/bad", fallback="second"),
        http_step("second", api.url + "/bad/too"),
    )
    result, out = await engine.run(steps, "x.jsonl", lines({"ip": 1}, {"ip": 2}))
    assert [record["geo"]["error"]["detail"][:12] for record in parsed(out)] == ["step second:"] * 2
    assert (result.outcome, result.stats.calls, result.stats.cached) == ("partial", 2, 2)


async def test_wrong_credentials_end_the_step_for_the_whole_payload(api: Any, engine: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=401)

    api.answer = answer
    steps = pipeline(http_step("geo", api.url + "/{ip}", concurrency=1))
    result, out = await engine.run(steps, "x.jsonl", lines(*({"ip": n} for n in range(50))))
    assert len(api.seen) <= 2  # one that failed, and one that was already on its way
    assert result.stats.failed == 50
    assert {record["geo"]["error"]["status"] for record in parsed(out)} == {401}


async def test_a_step_that_sends_all_never_sends_what_another_step_happened_to_add(
    api: Any, engine: Any
) -> None:
    late = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/quick":
            late.set()
        return web.json_response(1)

    api.answer = answer
    steps = pipeline(
        http_step("quick", api.url + "/quick"),
        http_step("slow", api.url + "/first"),
        http_step("all", api.url + "/all", method="POST", send=("*",), needs=("slow",)),
    )
    await engine.run(steps, "x.jsonl", lines({"ip": 1, "name": "é"}))
    body = next(body for _, path, body, _ in api.seen if path == "/all")
    assert json.loads(body) == {"ip": 1, "name": "é", "slow": 1}
    assert late.is_set()


@pytest.mark.parametrize("on_error", ["drop", "fail"])
async def test_a_dropped_record_starts_no_more_calls(api: Any, engine: Any, on_error: str) -> None:
    api.answer = failing
    steps = pipeline(
        http_step("geo", api.url + "/bad", on_error=on_error),
        http_step("next", api.url + "/next", needs=("geo",)),
    )
    try:
        _, out = await engine.run(steps, "x.jsonl", lines({"ip": 1}))
        assert out == b""
    except Exception as error:
        assert on_error == "fail", error
    assert [path for _, path, _, _ in api.seen] == ["/bad"]
