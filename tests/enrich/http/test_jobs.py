"""Asynchronous APIs: submitted once, polled until the end, also by the process that comes after."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import Enricher, PayloadFault, Pipeline, Retry
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Auth, Job
from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.enrich.whole import SMALL
from tests.enrich.http.conftest import Ask, error
from tests.enrich.steps import http_step


class Jobs:
    """An API that accepts jobs at /jobs and finishes them at the `polls`th poll."""

    def __init__(self, api: Any, polls: int = 3) -> None:
        self.api, self.polls = api, polls
        self.submitted = self.polled = 0
        self.location = "/jobs/{id}"
        self.accepted: dict[str, Any] = {"status": 202}
        self.pending: dict[str, Any] = {"status": 202}
        self.finished: dict[str, Any] = {"text": '{"answer": 42}'}
        api.answer = self.answer

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/jobs":
            self.submitted += 1
            found = self.location.replace("{id}", str(self.submitted))
            headers = {"Location": found} if found else {}
            body = json.dumps({"id": f"j/{self.submitted}", "status": "queued"})
            return web.Response(headers=headers, text=body, **self.accepted)
        if request.path.startswith("/results/"):
            return web.json_response({"result": request.raw_path})
        self.polled += 1
        return web.Response(**(self.pending if self.polled < self.polls else self.finished))


async def test_a_job_is_submitted_once_and_polled_until_it_is_done(
    api: Any, engine: Any, ask: Ask
) -> None:
    Jobs(api)
    settings = {"method": "POST", "json": {"q": "{q}"}, "select": {"a": "answer"}}
    (found,) = await ask("/jobs", {"q": 1}, job=Job(every=7), **settings)
    assert found == {"a": 42}
    assert [(method, path) for method, path, _, _ in api.seen] == [
        ("POST", "/jobs"), ("GET", "/jobs/1"), ("GET", "/jobs/1"), ("GET", "/jobs/1"),
    ]  # fmt: skip
    assert engine.pauses.seconds == [7, 7, 7]
    polled = api.seen[1][3]
    assert "Idempotency-Key" in api.seen[0][3] and "Idempotency-Key" not in polled
    assert "Content-Type" not in polled and "Content-Length" not in polled
    assert ask.stats.calls == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [("30", 30, 30), ("in an hour", 3590, 3600), ("0", 1, 1), ("soon", 7, 7)],
)
async def test_the_api_says_when_to_ask_again(
    api: Any, engine: Any, ask: Ask, after: str, least: float, most: float
) -> None:
    jobs = Jobs(api, polls=2)
    if after == "in an hour":
        after = formatdate(time.time() + 3600, usegmt=True)
    jobs.pending = {"status": 202, "headers": {"Retry-After": after}}
    await ask("/jobs", {}, method="POST", job=Job(every=7))
    assert engine.pauses.seconds[0] == 7
    assert least <= engine.pauses.seconds[1] <= most


STATUS = Job(
    url="/jobs/{id}", status="state", done=("ok", "true"), failed=("broken",), every=1
)  # fmt: skip


async def test_a_status_field_says_whether_it_is_done(api: Any, ask: Ask) -> None:
    jobs = Jobs(api)
    jobs.location, jobs.accepted = "", {"status": 200}
    jobs.pending = {"text": '{"state": "running"}'}
    jobs.finished = {"text": '{"state": "ok", "v": 1}'}
    (found,) = await ask("/jobs", {}, method="POST", job=STATUS, select={"v": "v"})
    assert found == {"v": 1}
    assert api.seen[1][1] == "/jobs/j%2F1"
    jobs.polled, jobs.finished = 0, {"text": '{"state": true}'}
    (found,) = await ask("/jobs", {"q": 2}, method="POST", job=STATUS, select={"s": "state"})
    assert found == {"s": True}


async def test_a_job_that_fails_is_a_record_error_and_not_polled_again(api: Any, ask: Ask) -> None:
    jobs = Jobs(api)
    jobs.finished = {"text": '{"state": "broken", "why": "SECRET"}'}
    (found,) = await ask("/jobs", {}, method="POST", job=STATUS)
    assert error(found).startswith("Job failed") and error(found).endswith("ended as 'broken'")
    assert jobs.polled == 3


@pytest.mark.parametrize("status", [404, 410])
async def test_a_job_that_is_gone_is_a_record_error(api: Any, ask: Ask, status: int) -> None:
    jobs = Jobs(api)
    jobs.finished = {"status": status}
    (found,) = await ask("/jobs", {}, method="POST", job=Job(every=1))
    assert found["error"]["status"] == status


@pytest.mark.parametrize(
    ("job", "finished", "result"),
    [
        (Job(every=1), {"status": 303, "headers": {"Location": "/results/9"}}, "/results/9"),
        (Job(every=1, result="/results/{id}"), {"text": "{}"}, "/results/j%2F1"),
        (Job(every=1, result="/results/{id}"), {"text": '{"id": 5}'}, "/results/5"),
        (Job(every=1, result="{u.get}"), {"text": '{"u": {"get": "/results/7"}}'}, "/results/7"),
        (Job(url="{at}", every=1), None, None),
    ],
)  # fmt: skip
async def test_a_result_may_be_at_another_place(
    api: Any, ask: Ask, job: Job, finished: Any, result: str | None
) -> None:
    jobs = Jobs(api)
    jobs.finished = finished or jobs.finished
    (found,) = await ask("/jobs", {}, method="POST", job=job)
    if result is None:
        assert "no field 'at'" in error(found)
    else:
        assert found == {"result": result}


async def test_an_answer_that_is_there_at_once_needs_no_poll(api: Any, ask: Ask) -> None:
    jobs = Jobs(api)
    jobs.location, jobs.accepted = "", {"status": 200}
    (found,) = await ask("/jobs", {}, method="POST", job=Job())
    assert found == {"id": "j/1", "status": "queued"}
    assert jobs.polled == 0


async def test_a_status_field_that_says_done_at_once_needs_no_poll(api: Any, ask: Ask) -> None:
    jobs = Jobs(api)
    jobs.accepted = {"status": 200}
    job = Job(status="status", done=("queued",), result="/results/{id}")
    (found,) = await ask("/jobs", {}, method="POST", job=job)
    assert found == {"result": "/results/j%2F1"}
    assert jobs.polled == 0


async def test_a_location_is_relative_to_where_the_job_was_submitted(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "jobs/1"})
        if request.path == "/v1/jobs/1":
            return web.Response(status=303, headers={"Location": "../results/1"})
        return web.json_response(request.path)

    api.answer = answer
    assert await ask("/v1/jobs", {}, method="POST", job=Job()) == ["/v1/results/1"]


async def test_a_waiting_job_is_shown_as_what_the_payload_waits_for(
    api: Any, engine: Any, compiled: Any
) -> None:
    Jobs(api)
    shown: list[str] = []
    run = Run("X", MemoryStore())

    async def look(seconds: float) -> None:
        shown.extend(wait.reason for wait in run.waits.values())

    step = compiled(
        api.url + "/jobs",
        method="POST",
        job=Job(),
        transport=engine.enricher._transport,
        sleep=look,
    )
    engine.enricher._guard.admit(Pipeline("p", (step.settings,)))
    assert (await step.call({}).make(run)).value == {"answer": 42}
    host = re.escape(api.url.removeprefix("http://"))
    assert re.fullmatch(rf"step geo: a job of {host}, since 20\d\d-.*Z", shown[0])
    assert run.waits == {}


@pytest.mark.parametrize(
    ("location", "says"),
    [("http://evil.example/1", "leads to another host"), ("", "without a Location")],
)
async def test_a_job_at_no_place_or_another_host_is_a_record_error(
    api: Any, ask: Ask, location: str, says: str
) -> None:
    jobs = Jobs(api)
    jobs.location = location
    (found,) = await ask("/jobs", {}, method="POST", job=Job())
    assert says in error(found)
    assert jobs.polled == 0


async def test_a_host_that_is_away_only_makes_it_take_longer(
    api: Any, engine: Any, ask: Ask
) -> None:
    jobs = Jobs(api, polls=9)
    jobs.pending = {"status": 503}
    (found,) = await ask("/jobs", {}, method="POST", job=Job(every=60), retry=Retry(2))
    assert found == {"answer": 42}
    assert jobs.submitted == 1
    assert engine.pauses.seconds.count(60) == 5


async def test_a_job_has_its_time(api: Any, ask: Ask) -> None:
    jobs = Jobs(api, polls=10**9)
    (found,) = await ask("/jobs", {}, method="POST", job=Job(every=1, within=0.2))
    assert "not finished within 0.2 s (job.within)" in error(found)
    assert jobs.polled > 1


class Restart:
    """A store that outlives its engines, and engines whose polls can be held."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.events: list[str] = []
        self.put: list[tuple[str, bytes]] = []
        self.sleeping = asyncio.Event()
        ledger, durable = self.store.ledger, self.store.durable
        put = ledger.put_ticket

        async def noted() -> None:
            self.events.append("durable")
            await durable()

        def noted_ticket(scope: str, key: bytes, ticket: bytes) -> None:
            self.events.append("ticket")
            self.put.append((scope, key))
            put(scope, key, ticket)

        self.store.durable = noted  # type: ignore[method-assign]
        ledger.put_ticket = noted_ticket  # type: ignore[method-assign]

    async def held(self, seconds: float) -> None:
        self.events.append("pause")
        self.sleeping.set()
        await asyncio.Event().wait()

    async def at_once(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def tickets(self) -> list[bytes]:
        found = [self.store.ledger.ticket(*at) for at in self.put]
        return [ticket for ticket in found if ticket is not None]


@pytest.mark.parametrize("kind", ["jsonl", "raw"])
async def test_the_next_process_goes_on_polling_instead_of_submitting_again(
    api: Any, kind: str
) -> None:
    jobs = Jobs(api)
    restart = Restart()
    auth = Auth("key", secret="SECRET", name="k", place="query")
    step = http_step("geo", api.url + "/jobs", method="POST", job=Job(), auth=auth)
    pipeline = Pipeline("p", (step,), format=kind)
    sink = io.BytesIO()

    first = Enricher([pipeline], store=restart.store, sleep=restart.held)
    args = (pipeline, "a.bin", io.BytesIO(b'{"q": 1}\n'), sink)
    running = asyncio.create_task(first.run(*args, exchange="X"))
    await restart.sleeping.wait()
    assert restart.events[:3] == ["ticket", "durable", "pause"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (jobs.submitted, jobs.polled) == (1, 0)
    (ticket,) = restart.tickets()
    assert b"SECRET" not in ticket

    # what only says how to go on may change meanwhile
    job = Job(every=1, within=1000)
    select = {} if kind == "raw" else {"answer": "answer"}
    step = http_step(
        "geo",
        api.url + "/jobs",
        method="POST",
        job=job,
        auth=auth,
        select=select,
        headers={"x": "y"},
    )
    pipeline = Pipeline("p", (step,), format=kind)
    args = (pipeline, *args[1:])
    second = Enricher([pipeline], store=restart.store, sleep=restart.at_once)
    result = await second.run(*args, exchange="X")
    assert (jobs.submitted, jobs.polled) == (1, 3)
    assert b'{"answer":' in sink.getvalue()
    assert result.stats.calls == 3
    assert {path for _, path, _, _ in api.seen[1:]} == {"/jobs/1?k=SECRET"}
    second.forget("X")
    await asyncio.sleep(0)
    assert restart.tickets() == []
    await first.aclose()
    await second.aclose()


async def test_a_job_is_not_lost_when_the_credentials_are_refused_meanwhile(
    api: Any, ask: Ask, engine: Any
) -> None:
    jobs = Jobs(api)
    jobs.pending = {"status": 401}
    (found,) = await ask("/jobs", {}, method="POST", job=Job(every=1), exchange="X")
    assert found["error"]["status"] == 401
    jobs.pending = {"status": 202}
    assert await ask("/jobs", {}, method="POST", job=Job(every=1), exchange="X") == [{"answer": 42}]
    assert jobs.submitted == 1


async def test_a_ticket_goes_after_its_answer_is_recorded(api: Any) -> None:
    Jobs(api)
    restart = Restart()
    ledger = restart.store.ledger
    step = http_step("geo", api.url + "/jobs", method="POST", job=Job())
    pipeline = Pipeline("p", (step,), format="jsonl")
    drop, put, order = ledger.drop_ticket, ledger.put, []
    ledger.drop_ticket = lambda *a: (order.append("drop"), drop(*a))[1]  # type: ignore[method-assign]
    ledger.put = lambda *a: (order.append("put"), put(*a))[1]  # type: ignore[method-assign]
    engine = Enricher([pipeline], store=restart.store, sleep=restart.at_once)
    await engine.run(pipeline, "a", io.BytesIO(b'{"q": 1}\n'), io.BytesIO(), exchange="X")
    await asyncio.sleep(0)
    assert order == ["put", "drop"]
    await engine.aclose()


async def test_many_jobs_wait_at_once_without_a_slot_of_the_limit(api: Any, ask: Ask) -> None:
    jobs = Jobs(api)
    jobs.polls = 60
    settings = {"method": "POST", "json": "{q}", "concurrency": 4}
    records = [{"q": number} for number in range(8)]
    found = await ask("/jobs", *records, job=Job(every=1), **settings)
    assert found == [{"answer": 42}] * 8
    assert jobs.submitted == 8


async def test_a_whole_file_is_submitted_and_its_result_streamed(
    api: Any, engine: Any, one_step: Any
) -> None:
    big = b"r" * 3_000_000

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": "/jobs/1"})
        if request.path == "/jobs/1":
            if len(api.seen) < 4:
                return web.json_response({"state": "running"})
            return web.json_response({"state": "ok", "at": "/results/1"})
        return web.Response(body=big, content_type="image/png")

    api.answer = answer
    job = Job(status="state", done=("ok",), result="{at}", every=1)
    pipeline = one_step("/ocr/{name}", method="POST", format="raw", job=job)
    payload = b"p" * 2_000_000
    result, out = await engine.run(pipeline, "scan.pdf", payload)
    assert out == big
    assert result.media_type == "image/png"
    assert api.seen[0][1:3] == ("/ocr/scan.pdf", payload)
    assert [method for method, _, _, _ in api.seen] == ["POST", "GET", "GET", "GET", "GET"]


async def test_a_whole_files_failed_job_fails_the_payload(
    api: Any, engine: Any, one_step: Any
) -> None:
    jobs = Jobs(api)
    jobs.finished = {"text": '{"state": "broken"}'}
    pipeline = one_step("/jobs", method="POST", format="raw", job=STATUS)
    with pytest.raises(PayloadFault, match="its job ended as 'broken'"):
        await engine.run(pipeline, "a", b"x")
    assert jobs.submitted == 1


async def test_a_result_too_large_for_the_ledger_is_fetched_again_and_not_paid_for_again(
    api: Any,
) -> None:
    jobs = Jobs(api)
    jobs.finished = {"text": "x" * (SMALL + 1)}
    restart = Restart()
    step = http_step("geo", api.url + "/jobs", method="POST", job=Job())
    pipeline = Pipeline("p", (step,), format="raw")
    engine = Enricher([pipeline], store=restart.store, sleep=restart.at_once)
    for _ in range(2):  # killed after the first, before its answer was published
        sink = io.BytesIO()
        await engine.run(pipeline, "a.bin", io.BytesIO(b"?"), sink, exchange="X")
        assert len(sink.getvalue()) > SMALL
        await asyncio.sleep(0)  # what was to be done later is done
    assert jobs.submitted == 1
    engine.forget("X")
    assert restart.tickets() == []
    await engine.aclose()


@pytest.mark.parametrize("other", [{}, {"auth": Auth("bearer", secret="other")}])
async def test_after_a_restart_any_exchange_goes_on_with_a_job_that_it_shares(
    api: Any, other: dict[str, Any]
) -> None:
    jobs, restart = Jobs(api), Restart()

    def pipeline(**more: Any) -> Pipeline:
        step = http_step("geo", api.url + "/jobs", method="POST", job=Job(), json="{q}", **more)
        return Pipeline("p", (step,), format="jsonl")

    def run(engine: Enricher, exchange: str, pipeline: Pipeline) -> Any:
        source = io.BytesIO(b'{"q": 1}\n')
        return engine.run(pipeline, "a", source, io.BytesIO(), exchange=exchange)

    first = Enricher([], store=restart.store, sleep=restart.held)
    running = asyncio.create_task(run(first, "X", pipeline()))
    await restart.sleeping.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    second = Enricher([], store=restart.store, sleep=restart.at_once)
    await run(second, "Y", pipeline(**other))
    assert jobs.submitted == (2 if other else 1), "never with another credential"
    for engine in (first, second):
        await engine.aclose()
