"""Pipelines over records against a real API: what goes out, what comes back, what an error does."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import Enricher, PayloadFault, Pipeline, Rate, Retry, Withdrawn
from roundtrip.errors import PipelineError
from tests.enrich.steps import http_step


def lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parsed(payload: bytes) -> list[Any]:
    return [json.loads(line) for line in payload.splitlines()]


def numbered(count: int) -> bytes:
    return lines(*({"ip": str(n)} for n in range(count)))


async def test_a_table_gets_the_selected_columns(api: Any, engine: Any, one_step: Any) -> None:
    step = one_step("/ip/{ip}", select={"path": "path", "city": "location.city", "none": "x.y"})
    result, out = await engine.run(step, "orders.csv", b"id;ip\r\n1;a b\r\n2;\r\n")
    assert out.decode() == (
        "id;ip;geo.path;geo.city;geo.none;geo.error\r\n"
        "1;a b;/ip/a b;Köln;;\r\n"
        "2;;;;;Missing field: step geo: field 'ip' is empty\r\n"
    )
    assert [path for _, path, _, _ in api.seen] == ["/ip/a%20b"]
    assert result.outcome == "partial"
    assert (result.stats.records, result.stats.ok, result.stats.failed) == (2, 1, 1)
    assert (result.stats.calls, result.stats.cached) == (1, 0)


async def test_a_table_without_select_gets_one_column_of_json(engine: Any, one_step: Any) -> None:
    pipeline = one_step("/x", on_error="drop", into="answer")
    _, out = await engine.run(pipeline, "a.csv", b"a\n1\n")
    row = '1,"{""path"":""/x"",""location"":{""city"":""Köln""}}"'
    assert out.decode().splitlines() == ["a,answer", row]


async def test_json_gets_the_answer_or_the_error_and_numbers_stay(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/ip/bad":
            return web.Response(status=404, text="SECRET in an answer")
        return web.Response(text='{"lat": 1.10, "id": 123456789012345678901234567890}')

    api.answer = answer
    payload = b'[{"ip": "1", "n": 2.50}, {"ip": "bad"}]'
    result, out = await engine.run(one_step("/ip/{ip}"), "a.json", payload)
    assert b'"n": 2.50,"geo":{"lat":1.10,"id":123456789012345678901234567890}' in out
    assert json.loads(out)[1]["geo"] == {
        "error": {
            "title": "404 Not Found",
            "status": 404,
            "detail": f"step geo: {api.url[7:]} answered 404",
        }
    }
    assert result.outcome == "partial"


async def test_order_is_kept_whatever_the_latencies(api: Any, engine: Any, one_step: Any) -> None:
    chance = random.Random(5)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(chance.random() * 0.02)
        return web.json_response(request.path)

    api.answer = answer
    result, out = await engine.run(one_step("/{ip}", concurrency=50), "a.jsonl", numbered(400))
    assert parsed(out) == [{"ip": str(n), "geo": f"/{n}"} for n in range(400)]
    assert result.outcome == "enriched"
    assert result.stats.ok == result.stats.calls == 400


async def test_the_same_call_is_made_once_even_when_it_fails(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.01)
        return web.Response(status=404) if request.path == "/b" else web.json_response(1)

    api.answer = answer
    payload = lines(*[{"ip": "a"}, {"ip": "b"}] * 50)
    result, out = await engine.run(one_step("/{ip}"), "a.jsonl", payload)
    assert len(api.seen) == 2
    assert (result.stats.calls, result.stats.cached) == (2, 98)
    assert (result.stats.ok, result.stats.failed) == (50, 50)
    assert [record["geo"] for record in parsed(out)[::2]] == [1] * 50


async def test_two_payloads_share_a_call_under_way_and_cached_answers_only_if_told(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.json_response(1)

    api.answer = answer
    plain, cached = one_step("/plain"), one_step("/cached", cache=60.0)
    both = [engine.run(plain, "a.jsonl", numbered(1)) for _ in range(2)]
    await asyncio.gather(*both)
    assert len(api.seen) == 1
    await engine.run(plain, "a.jsonl", numbered(1))
    assert len(api.seen) == 2
    await engine.run(cached, "a.jsonl", numbered(1))
    result, _ = await engine.run(cached, "a.jsonl", numbered(1))
    assert len(api.seen) == 3
    assert (result.stats.calls, result.stats.cached) == (0, 1)


@pytest.mark.parametrize("maker_goes", [True, False])
async def test_a_payload_that_goes_does_not_end_a_call_that_another_waits_for(
    api: Any, engine: Any, one_step: Any, maker_goes: bool
) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return web.json_response(1)

    api.answer = answer
    pipeline = one_step("/x")
    first = asyncio.create_task(engine.run(pipeline, "a.jsonl", numbered(1)))
    await arrived.wait()
    second = asyncio.create_task(engine.run(pipeline, "a.jsonl", numbered(1)))
    for _ in range(10):  # turns of the loop, until the second waits for the first one's call
        await asyncio.sleep(0)
    going, staying = (first, second) if maker_goes else (second, first)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    go.set()
    result, out = await staying
    assert parsed(out) == [{"ip": "0", "geo": 1}]
    assert len(api.seen) == 1
    assert (result.stats.calls, result.stats.cached) == ((0, 1) if maker_goes else (1, 0))


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [
        ("annotate", [{"ip": "0"}, {"error": {}, "raw": "oops"}, {"ip": "bad"}, {"ip": "1"}]),
        ("drop", [{"ip": "0"}, {"ip": "1"}]),
    ],
)
async def test_one_bad_record_never_stops_the_others(
    api: Any, engine: Any, one_step: Any, on_error: str, expected: list[dict[str, Any]]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=400 if request.path == "/bad" else 204)

    api.answer = answer
    payload = b'{"ip":"0"}\noops\n{"ip":"bad"}\n{"ip":"1"}\n'
    result, out = await engine.run(one_step("/{ip}", on_error=on_error), "a.jsonl", payload)
    assert [r.get("ip") for r in parsed(out)] == [r.get("ip") for r in expected]
    assert (result.outcome, result.stats.ok, result.stats.failed) == ("partial", 2, 2)


@pytest.mark.parametrize("bad", [b"oops\n", b'{"ip":"bad"}\n', b"{}\n"])
async def test_on_error_fail_fails_the_payload_and_ends_the_calls_under_way(
    api: Any, engine: Any, one_step: Any, bad: bytes
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=400 if request.path == "/bad" else 204)

    api.answer = answer
    with pytest.raises(PayloadFault, match="on_error: fail") as caught:
        payload = b'{"ip":"0"}\n' + bad + numbered(100)
        await engine.run(one_step("/{ip}", on_error="fail"), "a.jsonl", payload)
    assert caught.value.position == {"record": 2}
    assert not [task for task in asyncio.all_tasks() if "RecordRun" in repr(task)]
    assert engine.enricher._flights == {}


async def test_a_later_step_sees_what_an_earlier_one_put_in(api: Any, engine: Any) -> None:
    first = http_step("geo", api.url + "/a/{ip}", select={"city": "location.city"})
    second = http_step("more", api.url + "/b/{geo.city}", select={"path": "path"})
    pipeline = Pipeline("two", (first, second))
    _, out = await engine.run(pipeline, "a.csv", b"ip\n1\n2\n")
    header = "ip,geo.city,geo.error,more.path,more.error"
    assert out.decode().splitlines() == [header, "1,Köln,,/b/Köln,", "2,Köln,,/b/Köln,"]
    assert len(api.seen) == 3


async def test_a_failed_step_fails_only_the_steps_that_need_it(api: Any, engine: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=410) if request.path == "/a" else web.json_response("ok")

    api.answer = answer
    steps = [http_step("a", api.url + "/a"), http_step("b", api.url + "/b/{a.x}")]
    pipeline = Pipeline("three", (*steps, http_step("c", api.url + "/c")))
    result, out = await engine.run(pipeline, "x.jsonl", numbered(1))
    (record,) = parsed(out)
    assert record["a"]["error"]["status"] == 410
    assert record["b"]["error"]["title"] == "Missing field"
    assert record["c"] == "ok"
    assert (result.stats.failed, result.stats.calls) == (1, 2)


BODIES: list[tuple[dict[str, Any], str, bytes]] = [
    ({"send": ("*",)}, "application/json", b'{"a":"x\\"}&<","n":1.10}'),
    ({"json": {"q": "{a}", "n": "{n}"}}, "application/json", b'{"q":"x\\"}&<","n":1.10}'),
    ({"body": "a={a}"}, "text/plain; charset=utf-8", b'a=x"}&<'),
    (
        {"body": '{"q": "{a}"}', "headers": {"Content-Type": "application/json"}},
        "application/json",
        b'{"q": "x\\"}&<"}',
    ),
    (
        {"body": "a={a}&b=1", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        "application/x-www-form-urlencoded",
        b"a=x%22%7D%26%3C&b=1",
    ),
    ({"body": "<a>{a}</a>", "headers": {"content-type": "text/xml"}}, "text/xml",
     b"<a>x&quot;}&amp;&lt;</a>"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "content_type", "sent"), BODIES, ids=lambda v: str(v)[:40])
async def test_a_body_carries_the_record_and_values_stay_values(
    api: Any, engine: Any, one_step: Any, settings: Any, content_type: str, sent: bytes
) -> None:
    pipeline = one_step("/x", method="post", **settings)
    await engine.run(pipeline, "a.jsonl", b'{"a": "x\\"}&<", "n": 1.10}\n')
    ((method, _, body, headers),) = api.seen
    assert (method, body, headers["Content-Type"]) == ("POST", sent, content_type)


async def test_a_call_carries_the_steps_headers_and_query_and_no_others(
    api: Any, engine: Any, one_step: Any
) -> None:
    headers = {"X-Ip": "<{ip}>", "Accept": "text/x"}
    pipeline = one_step("/x?a=1", headers=headers, query={"k": "{ip}&"})
    await engine.run(pipeline, "a.jsonl", lines({"ip": "ü"}))
    ((_, path, body, sent),) = api.seen
    assert (path, body) == ("/x?a=1&k=%C3%BC%26", b"")
    assert sent == {
        "Host": api.url.removeprefix("http://"),
        "X-Ip": "<ü>",
        "Accept": "text/x",
        "User-Agent": "roundtrip",
        "Accept-Encoding": "gzip, deflate",
    }


async def test_a_hostile_header_value_makes_no_call(api: Any, engine: Any, one_step: Any) -> None:
    pipeline = one_step("/x", headers={"x-ip": "{ip}"})
    result, _ = await engine.run(pipeline, "a.jsonl", lines({"ip": "a\r\nHost: evil"}))
    assert (api.seen, result.stats.failed) == ([], 1)


@pytest.mark.parametrize(
    ("text", "content_type"),
    [("<html>", "text/html"), ("{", "application/json"), ("[" * 100_000, "application/json"),
     ('{"a": 1} x', "application/json")],
)  # fmt: skip
async def test_an_answer_that_is_no_json_is_a_record_error_and_no_retry(
    api: Any, engine: Any, one_step: Any, text: str, content_type: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type)

    api.answer = answer
    _, out = await engine.run(one_step("/x"), "a.jsonl", numbered(1))
    assert parsed(out)[0]["geo"]["error"]["title"] == "Unusable answer"
    assert len(api.seen) == 1


async def test_an_answer_larger_than_allowed_is_a_record_error_also_when_it_is_compressed(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        found = web.Response(text='"' + "x" * 5_000_000 + '"')
        if request.path == "/gzip":
            found.enable_compression(web.ContentCoding.gzip)
        return found

    api.answer = answer
    for path in ("/plain", "/gzip"):
        _, out = await engine.run(one_step(path, max_response=100_000), "a.jsonl", numbered(1))
        assert "larger than 100000 bytes" in parsed(out)[0]["geo"]["error"]["detail"]
    _, out = await engine.run(one_step("/gzip"), "a.jsonl", numbered(1))
    assert parsed(out)[0]["geo"] == "x" * 5_000_000


async def test_a_selector_with_functions_can_calculate(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text='{"v": [1.25, 2.5], "s": "x"}')

    api.answer = answer
    _, out = await engine.run(one_step("/x", select={"t": "sum(v)"}), "a.jsonl", numbered(1))
    assert parsed(out)[0]["geo"] == {"t": 3.75}
    _, out = await engine.run(one_step("/x", select={"t": "sum(s)"}), "a.jsonl", numbered(1))
    assert "select doesn't fit" in parsed(out)[0]["geo"]["error"]["detail"]


async def test_an_api_that_is_busy_for_a_while_costs_no_record(
    api: Any, engine: Any, one_step: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if len(api.seen) == 1:
            return web.Response(status=429, headers={"Retry-After": "3"})
        return web.Response(status=503) if len(api.seen) == 2 else web.json_response("ok")

    api.answer = answer
    result, out = await engine.run(one_step("/x", method="POST"), "a.jsonl", numbered(1))
    assert parsed(out)[0]["geo"] == "ok"
    assert (result.stats.calls, result.stats.ok) == (3, 1)
    assert engine.pauses.seconds[0] == 3.0


@pytest.mark.parametrize(("method", "requests"), [("GET", 3), ("POST", 1)])
async def test_a_call_that_may_have_been_executed_is_repeated_only_if_that_does_no_harm(
    raw_server: Any, engine: Any, method: str, requests: int
) -> None:
    async def close(reader: Any, writer: Any) -> None: ...

    server = await raw_server(close)
    url = f"http://127.0.0.1:{server.port}/?key=SECRET"
    step = http_step("geo", url, method=method, headers={"a": "SECRET"}, retry=Retry(3))
    _, out = await engine.run(Pipeline("p", (step,)), "a.jsonl", numbered(1))
    assert server.requests == requests
    error = parsed(out)[0]["geo"]["error"]
    assert error["title"] == "Connection lost"
    assert b"SECRET" not in out


async def test_a_refused_calls_connection_is_used_again(
    api: Any, engine: Any, one_step: Any
) -> None:
    peers = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        found = web.StreamResponse(status=404)
        await found.prepare(request)
        await asyncio.sleep(0.01)
        await found.write(b"x" * 10_000)
        return found

    api.answer = answer
    await engine.run(one_step("/{ip}", concurrency=1), "a.jsonl", numbered(5))
    assert (len(api.seen), len(peers)) == (5, 1)


async def test_a_slow_api_is_given_up_in_time(api: Any, engine: Any, one_step: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        await api.over.wait()
        return web.Response()

    api.answer = answer
    pipeline = one_step("/x", timeout=0.2, retry=Retry(2))
    result, out = await asyncio.wait_for(engine.run(pipeline, "a.jsonl", numbered(1)), 3)
    assert parsed(out)[0]["geo"]["error"]["title"] == "No answer in time"
    assert result.stats.calls == 2


async def test_concurrency_holds_over_all_payloads_together(
    api: Any, engine: Any, one_step: Any
) -> None:
    now = most = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return web.json_response(1)

    api.answer = answer
    pipeline = one_step("/{ip}{x}", concurrency=3)
    payloads = [lines(*({"ip": n, "x": f"-{p}"} for n in range(20))) for p in range(3)]
    await asyncio.gather(*(engine.run(pipeline, "a.jsonl", payload) for payload in payloads))
    assert (len(api.seen), most) == (60, 3)
    most = 0
    await engine.run(one_step("/alone/{ip}", concurrency=7), "a.jsonl", numbered(40))
    assert most == 7


async def test_a_rate_spreads_the_calls(api: Any, engine: Any, one_step: Any) -> None:
    times: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        return web.json_response(1)

    api.answer = answer
    pipeline = one_step("/{ip}", rate=Rate(10, 0.5), concurrency=20)
    await engine.run(pipeline, "a.jsonl", numbered(15))
    assert 14 * 0.05 * 0.9 <= times[-1] - times[0] < 3
    for begin in times:
        assert sum(begin <= time < begin + 0.5 * 0.9 for time in times) <= 11


async def test_a_withdrawn_payload_stops_in_the_middle_of_a_call(
    api: Any, engine: Any, one_step: Any
) -> None:
    arrived = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        arrived.set()
        await api.over.wait()
        return web.Response()

    api.answer = answer
    began = time.monotonic()
    with pytest.raises(Withdrawn):
        await asyncio.wait_for(
            engine.run(one_step("/x"), "a.jsonl", numbered(1), cancelled=arrived.is_set), 10
        )
    assert time.monotonic() - began < 5
    assert engine.enricher._flights == {}


async def test_a_large_payload_leaves_the_loop_to_others(
    api: Any, engine: Any, one_step: Any
) -> None:
    late: list[float] = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            late.append(loop.time() - before)

    watcher = asyncio.create_task(watch())
    await engine.run(one_step("/x"), "a.jsonl", numbered(200_000))
    watcher.cancel()
    assert len(api.seen) == 1
    assert len(late) > 20
    assert sorted(late)[len(late) * 9 // 10] < 0.1


def test_the_pipeline_is_chosen_by_name_or_by_the_first_glob_that_fits() -> None:
    a = Pipeline("a", (), ("*.csv",))
    b, c = Pipeline("b", (), ("ORDERS*",)), Pipeline("c", (), ("orders*",))
    enricher = Enricher([a, b, c])
    assert enricher.choose("X.CSV", None) is a
    assert enricher.choose("Orders.json", None) is b
    assert enricher.choose("x.csv", "c") is c
    with pytest.raises(PipelineError, match=r"no pipeline fits the name 'x\.bin'.*a, b, c"):
        enricher.choose("x.bin", None)
    with pytest.raises(PipelineError, match="there is no pipeline 'd'; there are: a, b, c"):
        enricher.choose("x.csv", "d")


async def test_an_unparsable_payload_fails_in_one_line_that_says_where(
    engine: Any, one_step: Any
) -> None:
    with pytest.raises(PayloadFault, match="record 2, line 2 column") as caught:
        await engine.run(one_step("/x"), "a.json", b'[{"ip":"1"},\n {"ip" 2}]')
    assert caught.value.position["line"] == 2
    assert "\n" not in str(caught.value)


async def test_a_step_that_can_not_work_is_a_clean_error_without_its_secrets(engine: Any) -> None:
    pipeline = Pipeline("p", (http_step("geo", "https://{h}/?key=SECRET"),))
    with pytest.raises(PipelineError, match="pipeline p can't be used: url") as caught:
        await engine.run(pipeline, "a.jsonl", numbered(1))
    assert "SECRET" not in str(caught.value)
