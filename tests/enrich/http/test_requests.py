"""What a call sends: body, credentials, keys for repeating; and what `preview` shows of it."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich import RecordFault, Retry
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import (
    Auth,
    Batch,
    HostSettings,
    HttpSettings,
    Job,
    Pages,
    Rate,
)
from roundtrip.enrich.steps.http import Http
from roundtrip.enrich.steps.http.auth import digest
from roundtrip.enrich.steps.http.target import Origin
from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.template import Url
from tests.enrich.http.conftest import Ask

RECORD = {"a": 'x"}&<', "n": 1.5, "secret": "no"}

BODIES: list[tuple[dict[str, Any], str | None, bytes]] = [
    ({}, None, b""),
    ({"send": ("a", "n", "none")}, "application/json", b'{"a":"x\\"}&<","n":1.5}'),
    ({"send": ("*",)}, "application/json", b'{"a":"x\\"}&<","n":1.5,"secret":"no"}'),
    ({"json": ["{a}", {"b": "{n}"}]}, "application/json", b'["x\\"}&<",{"b":1.5}]'),
    (
        {"form": {"q x": "{a}", "n": "{n}", "v": "1 2"}},
        "application/x-www-form-urlencoded",
        b"q+x=x%22%7D%26%3C&n=1.5&v=1+2",
    ),
    ({"body": "a={a}"}, "text/plain; charset=utf-8", b'a=x"}&<'),
]


@pytest.mark.parametrize(("settings", "media_type", "sent"), BODIES, ids=lambda v: str(v)[:30])
@pytest.mark.parametrize("method", ["POST", "put", "PATCH"])
async def test_a_body_holds_what_the_step_says_and_nothing_else(
    api: Any, ask: Ask, settings: Any, media_type: str | None, sent: bytes, method: str
) -> None:
    await ask("/x", RECORD, method=method, **settings)
    ((found, _, body, headers),) = api.seen
    assert (found, body, headers.get("Content-Type")) == (method.upper(), sent, media_type)
    assert headers["Content-Length"] == str(len(sent))


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
async def test_a_method_without_content_sends_none(api: Any, ask: Ask, method: str) -> None:
    assert (await ask("/x", RECORD, method=method, send=("a",)))[0] is not False
    ((found, _, body, headers),) = api.seen
    assert (found, body, "Content-Type" in headers) == (method, b"", False)


AUTHS: list[tuple[Auth, str, dict[str, str]]] = [
    (
        Auth("basic", user="ü", secret="p:w"),
        "/x?a=1",
        {"Authorization": "Basic " + base64.b64encode("ü:p:w".encode()).decode()},
    ),
    (Auth("bearer", secret="t{o}k"), "/x?a=1", {"Authorization": "Bearer t{o}k"}),
    (Auth("key", secret="s", name="X-Key"), "/x?a=1", {"X-Key": "s"}),
    (Auth("key", secret="s&{a}", name="k", place="query"), "/x?a=1&k=s%26%7Ba%7D", {}),
]


@pytest.mark.parametrize(("auth", "path", "headers"), AUTHS, ids=lambda v: getattr(v, "kind", ""))
async def test_credentials_go_where_the_api_wants_them(
    api: Any, ask: Ask, auth: Auth, path: str, headers: dict[str, str]
) -> None:
    await ask("/x?a=1", {"a": 1}, auth=auth)
    ((_, found, _, sent),) = api.seen
    assert found == path
    assert headers.items() <= sent.items()


async def test_credentials_in_the_url_become_a_header(
    api: Any, engine: Any, compiled: Callable[..., Http]
) -> None:
    shown = compiled("https://us%40er:pw@api.example/x").call({}).shown()
    assert shown.url == "https://api.example/x"
    assert ("Authorization", "Basic " + base64.b64encode(b"us@er:pw").decode()) in shown.headers


CLASHES: list[tuple[dict[str, Any], str]] = [
    ({"auth": Auth("bearer", secret="S"), "headers": {"authorization": "S"}}, "given twice"),
    ({"auth": Auth("key", secret="S", name="k", place="query"), "query": {"k": "S"}}, "twice"),
    ({"auth": Auth("basic", user="a:b", secret="S")}, "can't hold a colon"),
    ({"json": [], "form": {"a": "S"}}, "json and form exclude each other"),
    ({"send": ("a",), "headers": {"x": "{b.c}"}}, "'b.c' may not leave"),
    ({"pages": Pages(next="link", cursor="c")}, "next and cursor exclude each other"),
    ({"pages": Pages(next="a[")}, "not a JMESPath"),
    ({"pages": Pages(), "job": Job()}, "pages and job exclude each other"),
    ({"job": Job(status="s")}, "job.status needs job.done"),
    ({"job": Job(url="https://evil.example/{id}")}, "on the same host"),
    ({"auth": Auth("oauth2", token_url="https://{h}/S")}, "token_url"),
    ({"batch": Batch(2, item="{ip}")}, "say where the items go"),
    ({"batch": Batch(2, item="{ip}"), "query": {"q": "{x}"}}, "{x} differs by record"),
    ({"batch": Batch(2), "method": "POST"}, "with batch.item or send"),
    ({"batch": Batch(2, by="id", item="{ip}"), "method": "POST"}, "give batch.key"),
]


@pytest.mark.parametrize(("settings", "says"), CLASHES, ids=[says for _, says in CLASHES])
def test_settings_that_contradict_each_other_are_an_error_without_secrets(
    compiled: Callable[..., Http], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        compiled("https://api.example/", **settings)
    assert "\n" not in str(caught.value) and '"S"' not in str(caught.value)


def test_a_key_changes_with_whatever_changes_the_answer(compiled: Callable[..., Http]) -> None:
    record = {"ip": "1", "x": "2"}

    def key(fields: dict[str, Any], url: str = "https://a/{ip}", **settings: Any) -> bytes:
        return compiled(url, **settings).call(fields).key

    keys = [
        key(record),
        key(record | {"ip": "2"}),
        key(record, name="other"),
        key(record, url="https://b/{ip}"),
        key(record, url="http://a/{ip}"),
        key(record, query={"k": "1"}),
        key(record, method="POST"),
        key(record, method="POST", send=("ip", "x")),
        key(record | {"x": "3"}, method="POST", send=("ip", "x")),
        key(record, method="POST", form={"x": "{x}"}),
        key(record, headers={"Authorization": "Bearer one"}),
        key(record, headers={"Authorization": "Bearer two"}),
        key(record, headers={"X": "{x}"}),
        key(record | {"x": "3"}, headers={"X": "{x}"}),
        key(record, select={"a": "b"}),
        key(record, select={"a": "c"}),
        key(record, auth=Auth("bearer", secret="three")),
        key(record, auth=Auth("oauth2", secret="1", user="u", token_url="https://t/")),
        key(record, auth=Auth("oauth2", secret="2", user="u", token_url="https://t/")),
        key(record, auth=Auth("oauth2", secret="2", user="v", token_url="https://t/")),
        key(record, hosts={"a": HostSettings("a", cert="/one.pem")}),
        key(record, hosts={"a": HostSettings("a", cert="/two.pem")}),
        key(record, pages=Pages()),
        key(record, pages=Pages(items="data")),
        key(record, job=Job()),
        key(record, job=Job(result="/r/{id}")),
        key(record, method="POST", url="https://a/", batch=Batch(2, item="{ip}")),
        key(record, method="POST", url="https://a/", batch=Batch(2, item="{ip}", results="r")),
        key(record | {"ip": 1}, method="POST", url="https://a/", batch=Batch(2, item="{ip}")),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(one) == 16 for one in keys)


def test_a_key_stays_when_nothing_that_matters_changes(compiled: Callable[..., Http]) -> None:
    def key(**settings: Any) -> bytes:
        return compiled("https://a/{ip}", **settings).call({"ip": "1", "x": settings}).key

    same = [
        key(),
        key(timeout=1.0),
        key(concurrency=1),
        key(cache=5.0),
        key(retry=Retry(1)),
        key(idempotency_key=None),
        key(hosts={"a": HostSettings("a", rate=Rate(1, 1.0), ca="/ca.pem")}),
    ]
    assert len(set(same)) == 1


def test_a_batchs_size_and_order_do_not_change_a_records_key(
    compiled: Callable[..., Http],
) -> None:
    keys = {
        compiled("https://a/", method="POST", batch=Batch(size, item="{ip}")).call({"ip": 1}).key
        for size in (1, 2, 50)
    }
    assert len(keys) == 1


async def test_the_repeated_call_carries_the_same_key_for_repeating(
    api: Any, engine: Any, ask: Ask
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=503) if len(api.seen) % 2 else web.json_response(1)

    api.answer = answer
    for exchange in ("one", "one", "two"):
        await ask("/x", {"ip": 1}, method="POST", json="{ip}", exchange=exchange)
        engine.enricher.forget(exchange)  # as if a crash had come before the answer was recorded
    keys = [headers["Idempotency-Key"] for _, _, _, headers in api.seen]
    assert len(keys) == 6
    assert str(uuid.UUID(keys[0])) == keys[0]
    assert (len(set(keys[:4])), len(set(keys[4:])), len(set(keys))) == (1, 1, 2)


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        ({"method": "POST"}, True),
        ({"method": "PATCH"}, True),
        ({"method": "POST", "idempotent": True}, True),
        ({"method": "PUT"}, False),
        ({"method": "GET"}, False),
        ({"method": "POST", "idempotency_key": None}, False),
    ],
)
async def test_only_calls_that_are_not_idempotent_carry_it(
    api: Any, ask: Ask, settings: Any, has: bool
) -> None:
    await ask("/x", {"a": 1}, **settings)
    assert ("Idempotency-Key" in api.seen[0][3]) is has


async def test_runs_without_an_exchange_never_share_a_key_for_repeating(api: Any, ask: Ask) -> None:
    for _ in range(2):
        await ask("/x", {"a": 1}, method="POST", headers={"x": str(_)})
    assert len({headers["Idempotency-Key"] for _, _, _, headers in api.seen}) == 2


async def test_the_shown_request_is_the_one_that_is_sent(api: Any, ask: Ask, compiled: Any) -> None:
    settings: dict[str, Any] = {
        "method": "POST",
        "json": {"q": "{a}"},
        "headers": {"X-A": "{n}"},
        "query": {"k": "{n}"},
        "auth": Auth("bearer", secret="t"),
    }
    await ask("/x/{n}", RECORD, **settings)
    ((method, path, body, headers),) = api.seen
    shown = compiled(api.url + "/x/{n}", **settings).call(RECORD).shown()
    assert (shown.method, shown.url, shown.body) == (method, api.url + path, body)
    found = {name.title(): value for name, value in shown.headers}
    assert found.keys() == {name.title() for name in headers}
    for name, value in headers.items():
        assert name == "Idempotency-Key" or found[name.title()] == value


@pytest.mark.parametrize("size", [3, 2_000_000])
async def test_the_shown_request_of_a_whole_file_is_the_one_that_is_sent(
    api: Any, engine: Any, one_step: Any, compiled: Any, size: int
) -> None:
    settings: dict[str, Any] = {"method": "POST", "auth": Auth("bearer", secret="t")}
    payload = b"p" * size
    await engine.run(one_step("/x/{name}", format="raw", **settings), "a b", payload)
    ((method, path, body, headers),) = api.seen
    step = compiled(api.url + "/x/{name}", **settings)
    shown = step.shown_whole("a b", io.BytesIO(payload), Run("", MemoryStore()))
    assert (shown.method, shown.url, body) == (method, api.url + path, payload)
    assert shown.body == (payload if size == 3 else None)
    found = {name.title(): value for name, value in shown.headers}
    assert found.keys() == {name.title() for name in headers}
    assert found["Content-Length"] == headers["Content-Length"] == str(size)


async def test_a_redirect_on_the_same_host_is_followed(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/old":
            return web.Response(status=302, headers={"Location": "/new"})
        return web.json_response(request.path)

    api.answer = answer
    assert await ask("/old", {}, headers={"X-Key": "k"}) == ["/new"]
    assert api.seen[1][3]["X-Key"] == "k"


def test_a_token_is_shown_as_what_it_is(compiled: Callable[..., Http]) -> None:
    auth = Auth("oauth2", user="u", secret="S", token_url="https://auth.example/token")
    shown = compiled("https://api.example/x", auth=auth).call({}).shown()
    assert dict(shown.headers)["Authorization"] == "Bearer <token of https://auth.example/token>"
    assert "S" not in "".join(value for _, value in shown.headers)


@given(st.text(), st.text(), st.sampled_from(["/a/{p}?x={q}", "/%zz/{p}?%zz'={q}", "/ü {p}?ü={q}"]))
def test_the_quick_way_to_a_url_makes_what_httpx_makes(path: str, query: str, target: str) -> None:
    template = Url("https://api.example:444" + target, {"c": "{q}"})
    fields = {"p": path, "q": query}
    try:
        text = template.render(fields)
    except RecordFault:
        return
    quick = Origin(template.origin).url(template.target(fields))
    whole = httpx.URL(text)
    assert (str(quick), quick.raw_path, quick.host) == (str(whole), whole.raw_path, whole.host)


@pytest.mark.parametrize("origin", ["https://a:x", "https://a:99999999999", "https://[::1"])
def test_an_origin_that_is_none_is_a_clean_error(origin: str) -> None:
    with pytest.raises(ValueError, match="no usable host or port"):
        Origin(origin)


def test_a_constant_url_is_normalised_once(compiled: Callable[..., Http]) -> None:
    call = compiled("https://a/x/../y?q=1").call({})
    assert call.shown().url == "https://a/y?q=1"


def test_json_of_a_record_that_utf8_can_not_hold_is_a_record_fault(
    compiled: Callable[..., Http],
) -> None:
    step = compiled("https://a/", method="POST", send=("*",))
    with pytest.raises(RecordFault, match="can't be written"):
        step.call({"a": json.loads('"\\ud800"')})


ONE = HttpSettings("https://a/x?api_key=K&lang=en", headers={"Accept": "a", "X-Api-Key": "K"})
SAME = [
    HttpSettings("https://a/other?lang=de&api_key=K", headers={"accept": "b", "x-api-key": "K"}),
    HttpSettings("https://a/{ip}?api_key=K", headers={"X-Api-Key": "K", "X-Token": "{token}"}),
]
OTHER = [
    HttpSettings("https://a/x?api_key=L", headers={"X-Api-Key": "K"}),
    HttpSettings("https://a/x?api_key=K", headers={"X-Api-Key": "L"}),
    HttpSettings("https://a/x?api_key=K"),
    HttpSettings("https://a/x", auth=Auth("key", secret="K")),
    HttpSettings("https://a/x", auth=Auth("key", secret="K", place="query")),
    HttpSettings("https://a/x", auth=Auth("basic", user="u", secret="K")),
    HttpSettings("https://a/x", auth=Auth("basic", user="uK")),
]


def test_steps_with_one_credential_share_it_whatever_else_they_send() -> None:
    assert {digest(one, "") for one in [ONE, *SAME]} == {digest(ONE, "")}
    assert len({digest(one, "") for one in [ONE, *OTHER]}) == 1 + len(OTHER)
    assert digest(ONE, "user:pw") != digest(ONE, "")
    assert digest(HttpSettings("https://a/?q=1", headers={"Accept": "x"}), "") == b""
