"""What leaves the host and what stays on its disk, against hostile records and hostile APIs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from roundtrip import template
from roundtrip.enrich import Enricher, Pipeline
from roundtrip.enrich.results import Stats
from roundtrip.enrich.run import Run, Wait
from roundtrip.enrich.settings import (
    Auth,
    Batch,
    CommandSettings,
    Job,
    Pages,
    Rate,
    StepSettings,
)
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.conftest import Handler
from tests.enrich.steps import http_step

RECORD = {"open": "OPEN", "hidden": "HIDDEN", "deep": {"open": "OPEN", "hidden": "HIDDEN"}}

# How a step may send; each sends OPEN and nothing else of RECORD.
WAYS: dict[str, dict[str, Any]] = {
    "path": {"path": "/{open}"},
    "query": {"query": {"q": "{open}"}},
    "query in the url": {"path": "/?q={deep.open}"},
    "header": {"headers": {"X-Q": "{open}"}},
    "json": {"method": "POST", "json": {"a": ["{open}"]}},
    "form": {"method": "POST", "form": {"a": "{open}"}},
    "body": {"method": "PUT", "body": "a {open}"},
    "query method": {"method": "QUERY", "body": "a {open}"},
    "send": {"method": "POST", "send": ("open",)},
    "send a part": {"method": "PATCH", "send": ("deep.open",)},
    "send with a template": {"method": "POST", "json": "{open}", "send": ("open", "hidden")},
    "send of a method without content": {"path": "/{open}", "send": ("open", "hidden")},
    "batch of send": {"method": "POST", "send": ("open",), "batch": Batch(2)},
    "batch of items": {"method": "POST", "batch": Batch(2, item={"a": "{deep.open}"})},
    "batch in json": {"method": "POST", "json": {"a": "{batch}"}, "batch": Batch(2, item="{open}")},
    "batch in the query": {"query": {"q": "{batch}"}, "batch": Batch(2, key="{open}")},
    "pages": {"query": {"q": "{open}"}, "pages": Pages("items", next="next")},
    "job": {"method": "POST", "send": ("open",), "job": Job(url="/jobs/{id}", result="/r/{open}")},
}


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_only_what_the_step_names_leaves(api: Any, engine: Any, way: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if "batch" in WAYS[way]:
            return web.json_response([1])
        found: dict[str, Any] = {"id": 1, "open": "OPEN", "items": [1]}
        return web.json_response(found if "n" in request.query else {**found, "next": "?n=OPEN"})

    api.answer = answer
    settings = dict(WAYS[way])
    step = http_step("s", api.url + settings.pop("path", "/x"), **settings)
    payload = json.dumps(RECORD).encode()
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", payload)
    assert result.outcome == "enriched"
    assert api.seen
    first = repr(api.seen[0])
    assert "OPEN" in first
    assert "HIDDEN" not in repr(api.seen)
    assert "hidden" not in repr(api.seen)


@pytest.mark.parametrize("batch", [None, Batch(2)])
async def test_a_record_with_none_of_the_fields_that_are_sent_asks_for_nothing(
    api: Any, engine: Any, batch: Batch | None
) -> None:
    async def one(request: web.Request) -> web.Response:
        return web.json_response([1])

    api.answer = one
    step = http_step("s", api.url, method="POST", send=("a", "b.c"), batch=batch)
    payload = b'{"z": 1}\n{"b": {"c": 2}}\n'
    result, out = await engine.run(Pipeline("p", (step,)), "a.jsonl", payload)
    first, second = map(json.loads, out.splitlines())
    assert first["s"]["error"] == {
        "title": "Missing field",
        "detail": "step s: the record has no field 'a', 'b.c' (send)",
    }
    assert second["s"] in (1, [1])
    assert (result.stats.failed, result.stats.calls, len(api.seen)) == (1, 1, 1)
    assert b"b.c" in api.seen[0][2]


@pytest.mark.parametrize(
    "settings",
    [
        {"send": ("c",)},
        {"send": ("*",), "needs": ("c",)},
        {"json": {"a": "{c}"}},
        {"json": {"a": "{c.error.detail}"}},
    ],
    ids=str,
)
async def test_what_went_wrong_inside_does_not_leave(
    api: Any, engine: Any, settings: dict[str, Any]
) -> None:
    command = CommandSettings(("sh", "-c", "echo INSIDE >&2; exit 3"))
    steps = (StepSettings("c", command), http_step("s", api.url, method="POST", **settings))
    _, out = await engine.run(Pipeline("p", steps), "a.jsonl", b'{"a": 1}\n')
    assert "INSIDE" not in repr(api.seen)
    assert json.loads(out)["c"]["error"]["detail"] == "step c: sh: exit code 3: INSIDE"


async def test_a_step_that_sends_no_field_on_purpose_still_asks(api: Any, engine: Any) -> None:
    step = http_step("s", api.url, method="POST", send=())
    await engine.run(Pipeline("p", (step,)), "a.jsonl", b'{"z": 1}\n')
    assert [body for _, _, body, _ in api.seen] == [b"{}"]


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON", "application/vnd.x+Json; charset=utf-8"]
)
async def test_a_value_in_a_json_text_stays_a_value(api: Any, engine: Any, media_type: str) -> None:
    step = http_step(
        "s", api.url, method="POST", body='{"q": "{a}"}', headers={"content-type": media_type}
    )
    hostile = 'x", "admin": true, "y": "'
    await engine.run(Pipeline("p", (step,)), "a.jsonl", json.dumps({"a": hostile}).encode())
    assert json.loads(api.seen[0][2]) == {"q": hostile}


@pytest.mark.parametrize("place", ["path", "query", "header"])
async def test_a_value_that_no_server_takes_is_the_records_error(
    api: Any, engine: Any, place: str
) -> None:
    given: dict[str, Any] = {"path": {}, "query": {"query": {"q": "{a}"}}}.get(
        place, {"headers": {"X-Q": "{a}"}}
    )
    step = http_step("s", api.url + ("/{a}" if place == "path" else "/x"), **given)
    payload = b"a\n" + b"x" * 1_000_000 + b"\n1\n"
    result, _ = await engine.run(Pipeline("p", (step,)), "a.csv", payload)
    assert (result.stats.ok, result.stats.failed, result.stats.calls) == (1, 1, 1)


async def test_a_batch_whose_keys_fit_in_no_url_is_halved(
    api: Any, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "LONGEST", 4_000)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response([1] * len(request.query["q"].split(",")))

    api.answer = answer
    step = http_step("s", api.url, query={"q": "{batch}"}, batch=Batch(4, key="{a}"))
    payload = b"".join(b'{"a": "%d%s"}\n' % (n, b"x" * 1_500) for n in range(4))
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", payload)
    assert (result.stats.ok, result.stats.calls) == (4, 2)


# JMESPaths that an operator would write, and data that makes jmespath itself raise TypeError.
MISFITS = [
    ("a > `5`", {"a": "x"}),
    ("items[?price > `5`]", {"items": [{"price": "x"}]}),
    ("contains(a, b)", {"a": "x", "b": 1}),
    ("merge(a, b)", {"a": {}, "b": None}),
    ("max_by(a, &b)", {"a": [{"b": 1}, {"b": "x"}]}),
]


@pytest.mark.parametrize(("expression", "data"), MISFITS)
async def test_data_that_fits_no_selector_fails_one_record(
    api: Any, engine: Any, expression: str, data: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(data if request.path == "/1" else {})

    api.answer = answer
    step = http_step("s", api.url + "/{n}", select={"found": expression})
    payload = b'{"n": 1}\n'
    result, out = await engine.run(Pipeline("p", (step,)), "a.jsonl", payload)
    assert result.outcome == "partial"
    assert json.loads(out)["s"]["error"]["title"] == "Unusable answer"


@pytest.mark.parametrize(("expression", "data"), MISFITS)
async def test_data_that_fits_no_condition_skips_the_step(
    api: Any, engine: Any, expression: str, data: Any
) -> None:
    step = http_step("s", api.url, when=expression)
    result, out = await engine.run(
        Pipeline("p", (step,)), "a.jsonl", json.dumps(data).encode() + b"\n"
    )
    assert (result.outcome, api.seen) == ("enriched", [])
    assert json.loads(out) == data


@pytest.mark.parametrize("place", ["results", "by"])
@pytest.mark.parametrize(("expression", "data"), MISFITS)
async def test_data_that_fits_no_batch_fails_its_records(
    api: Any, engine: Any, place: str, expression: str, data: Any
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(data if place == "results" else [data])

    api.answer = answer
    batch = Batch(2, results=expression) if place == "results" else Batch(2, expression, "{n}")
    step = http_step("s", api.url, method="POST", send=("n",), batch=batch)
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", b'{"n": 1}\n')
    assert result.outcome == "partial"


Answering = Callable[[Any], Handler]


def one_page(named: Any) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"items": [1], "next": named if request.path == "/x" else None})

    return answer


@pytest.mark.parametrize(
    "named",
    ["http://xn--/", "http://[x/", "/" + "x" * 70_000, "//\0", "http://evil.example/", "https:x"],
)
@pytest.mark.parametrize("by", ["next", "cursor"])
async def test_a_next_page_that_is_nowhere_is_a_record_error_or_stays_here(
    api: Any, engine: Any, by: str, named: str
) -> None:
    api.answer = one_page(named)
    pages = Pages("items", **{by: "next"}, param="c", most=2)  # type: ignore[arg-type]
    step = http_step("s", api.url + "/x", pages=pages)
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", b"{}\n")
    assert result.outcome == "partial"
    assert {path.partition("?")[0] for _, path, _, _ in api.seen} == {"/x"}


async def test_a_key_in_the_query_does_not_make_a_long_url_break(api: Any, engine: Any) -> None:
    api.answer = one_page("?a=" + ":" * 60_000)  # longer when it is written anew
    auth = Auth("key", secret="K", name="k", place="query")
    step = http_step("s", api.url + "/x", pages=Pages("items", next="next"), auth=auth)
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", b"{}\n")
    assert result.outcome == "partial"


@pytest.mark.parametrize(
    "life", [10**400, -(10**400), "nan", "-inf", [], True, "1" * 5_000], ids=lambda x: str(x)[:9]
)
async def test_an_absurd_life_of_a_token_harms_nobody(api: Any, engine: Any, life: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": "T", "expires_in": life})
        return web.json_response({})

    api.answer = answer
    auth = Auth("oauth2", secret="S", user="u", token_url=api.url + "/token")
    step = http_step("s", api.url + "/x", auth=auth)
    result, _ = await engine.run(Pipeline("p", (step,)), "a.jsonl", b"{}\n")
    assert result.outcome == "enriched"


class Stopping:
    """A pause that lasts until the test stops the engine."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


class Tickets(MemoryStore):
    """A store that keeps all tickets that were ever put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []
        put = self.ledger.put_ticket

        def noted(scope: str, key: bytes, ticket: bytes) -> None:
            self.seen.append(ticket)
            put(scope, key, ticket)

        self.ledger.put_ticket = noted  # type: ignore[method-assign]


# Where a secret may stand in a step with a job: the settings for a secret, and where it is polled.
SECRET_JOBS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "job.url": (lambda s: {"job": Job(url="/jobs/{id}?key=" + s)}, "/jobs/7?key={}"),
    "job.url in the path": (lambda s: {"job": Job(url=f"/{s}/{{id}}")}, "/{}/7"),
    "an echoed parameter": (lambda s: {"job": Job(), "query": {"q": s, "r": "1"}}, "?q={}&r=1"),
    "an echoed parameter of the url": (lambda s: {"job": Job(), "path": f"/x?q={s}"}, "?q={}"),
    "a field that is a url": (lambda s: {"job": Job(url="{place}"), "query": {"q": s}}, "?q={}"),
}


@pytest.mark.parametrize("where", SECRET_JOBS)
async def test_a_jobs_ticket_holds_no_secret_and_is_of_use_after_it_changed(
    api: Any, where: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            place = f"/jobs/9?{request.query_string}"
            found = {"id": 7, "place": place}
            return web.json_response(found, status=202, headers={"Location": place})
        return web.json_response({"done": True})

    api.answer = answer
    settings, polled = SECRET_JOBS[where]
    store = Tickets()

    def pipeline(secret: str) -> Pipeline:
        given = settings(secret)
        url = api.url + given.pop("path", "/x")
        return Pipeline("p", (http_step("s", url, method="POST", json={}, **given),))

    async def run(secret: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        engine = Enricher([], store=store, sleep=sleep)
        try:
            source = io.BytesIO(b"{}\n")
            await engine.run(pipeline(secret), "a.jsonl", source, io.BytesIO(), exchange="X")
        finally:
            await engine.aclose()

    pause = Stopping()
    running = asyncio.create_task(run("OLDSECRET", pause))
    await pause.reached.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(store.seen) == 1
    assert b"SECRET" not in store.seen[0]
    if where.startswith("job.url"):  # else it is part of what makes the job the same job
        await run("NEWSECRET", at_once)
        assert api.seen[-1][1].endswith(polled.format("NEWSECRET"))
    else:
        await run("OLDSECRET", at_once)
        assert api.seen[-1][1].endswith(polled.format("OLDSECRET"))
    assert [method for method, *_ in api.seen] == ["POST", "GET"]


DEEPEST = range(600, 1_000)  # levels; Python's limit lies among them


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("a.jsonl", b'{"a": 1}\n'),
        ("a.json", b'[{"a": 1}]'),
        ("b.json", b'{"a": 1}'),
        ("a.csv", b"a\n1\n"),
        ("a.xml", b"<r><x><a>1</a></x></r>"),
    ],
)
async def test_an_answer_of_any_depth_is_written_or_its_records_error(
    api: Any, engine: Any, name: str, payload: bytes
) -> None:
    depth = 0

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"[" * depth + b"]" * depth, content_type="application/json")

    api.answer = answer
    pipeline = Pipeline("p", (http_step("s", api.url),))
    outcomes = []
    for depth in DEEPEST:  # noqa: B007
        result, _ = await engine.run(pipeline, name, payload)
        outcomes.append(result.outcome)
    assert outcomes == sorted(outcomes)  # enriched up to some depth, partial from there on
    assert set(outcomes) == {"enriched", "partial"}


async def test_a_record_of_any_depth_is_sent_or_its_own_error(api: Any, engine: Any) -> None:
    pipeline = Pipeline("p", (http_step("s", api.url, method="POST", send=("*",)),))
    for depth in DEEPEST:
        deep = b'{"s": 0, "a": ' + b"[" * depth + b"]" * depth + b"}\n"
        result, _ = await engine.run(pipeline, "a.jsonl", deep)
        assert result.stats.records == 1


async def test_a_deep_answer_in_a_jobs_ticket_is_no_trouble(api: Any, engine: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        body = b'{"id": 1, "x": ' + b"[" * 600 + b"]" * 600 + b"}"
        return web.Response(status=202, body=body, content_type="application/json")

    api.answer = answer
    job = Job(url="/jobs/{id}", result="/r/{x}", within=0.01, every=1)
    step = http_step("s", api.url, method="POST", json={}, job=job)
    result, out = await engine.run(Pipeline("p", (step,)), "a.jsonl", b"{}\n")
    assert result.outcome == "partial"
    assert json.loads(out)["s"]["error"]["title"] == "No answer in time"


def test_a_quota_that_would_take_ten_thousand_years_is_no_trouble() -> None:
    run = Run("x", MemoryStore(), Stats(calls=1))
    run.waits["quota"] = Wait("a quota", 1e9, Rate(1, 30 * 86400.0))
    assert run.progress(1e-9).waiting == "a quota"
    assert run.progress(0.5).waiting == "a quota"
    assert str(run.progress(0.1).waiting).startswith("a quota; at that rate")
