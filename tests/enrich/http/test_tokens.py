"""OAuth2 client credentials: one token for all, a new one in time, and in no error or ledger."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich import Pipeline, Retry
from roundtrip.enrich.settings import Auth
from roundtrip.enrich.steps.http.tokens import Tokens
from tests.enrich.http.conftest import Ask, error
from tests.enrich.steps import http_step


class Issuer:
    """An API and its token endpoint, /token; a token is good until it is `revoked`."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.issued: list[str] = []
        self.forms: list[tuple[dict[str, Any], str | None]] = []
        self.revoked: set[str] = set()
        self.answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": 3600}
        self.refusals: list[Any] = []
        self.only_in_body = False
        api.answer = self.handle
        self.auth = Auth(
            "oauth2", user="cl:ient", secret="S&CRET", token_url=api.url + "/token", scope="read",
            audience="api",
        )  # fmt: skip

    async def handle(self, request: web.Request) -> web.Response:
        if request.path != "/token":
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            good = token in self.issued and token not in self.revoked
            return web.json_response({"token": token}, status=200 if good else 401)
        form = dict(await request.post())
        self.forms.append((form, request.headers.get("Authorization")))
        if self.refusals:
            refusal = self.refusals.pop(0)
            return refusal if isinstance(refusal, web.Response) else web.Response(**refusal)
        if self.only_in_body and "client_secret" not in form:
            return web.json_response({"error": "invalid_client"}, status=401)
        await asyncio.sleep(0.02)
        self.issued.append(f"TOKEN{len(self.issued)}")
        return web.json_response({"access_token": self.issued[-1], **self.answer})


async def test_a_token_is_fetched_once_for_all_calls_and_steps(api: Any, engine: Any) -> None:
    issuer = Issuer(api)
    steps = tuple(http_step(name, f"{api.url}/{name}/{{ip}}", auth=issuer.auth) for name in "ab")
    payload = b"".join(b'{"ip": %d}\n' % number for number in range(20))
    result, out = await engine.run(Pipeline("p", steps), "x.jsonl", payload)
    assert result.outcome == "enriched"
    ((form, header),) = issuer.forms
    assert form == {"grant_type": "client_credentials", "scope": "read", "audience": "api"}
    assert header == "Basic " + base64.b64encode(b"cl%3Aient:S%26CRET").decode()
    assert out.count(b"TOKEN0") == 40
    assert result.stats.calls == 40


async def test_a_refused_token_is_replaced_once_in_the_same_attempt(api: Any, ask: Ask) -> None:
    issuer = Issuer(api)
    settings = {"auth": issuer.auth, "retry": Retry(1)}
    await ask("/x/{ip}", {"ip": 1}, **settings)
    issuer.revoked.add("TOKEN0")
    found = await ask("/x/{ip}", *({"ip": n} for n in range(2, 12)), **settings)
    assert found == [{"token": "TOKEN1"}] * 10
    assert len(issuer.forms) == 2
    issuer.revoked |= {f"TOKEN{number}" for number in range(9)}
    (found,) = await ask("/x/{ip}", {"ip": 99}, **settings)
    assert found["error"]["status"] == 401
    assert len(issuer.forms) == 3


async def test_a_late_refusal_of_the_old_token_spares_the_new_one(api: Any, engine: Any) -> None:
    issuer = Issuer(api)
    engine.enricher._guard.admit(Pipeline("p", (http_step("a", api.url, auth=issuer.auth),)))
    tokens = Tokens(issuer.auth, engine.enricher._transport)
    first = await tokens.token()
    tokens.refused(first)
    second = await tokens.token()
    tokens.refused(first)
    assert await tokens.token() == second != first


async def test_a_token_is_replaced_before_it_ends(api: Any, ask: Ask) -> None:
    issuer = Issuer(api)
    issuer.answer["expires_in"] = "0.1"
    await ask("/x", {}, {}, auth=issuer.auth)
    await asyncio.sleep(0.1)
    (found,) = await ask("/y", {}, auth=issuer.auth)
    assert found == {"token": "TOKEN1"}


async def test_a_server_that_wants_the_credentials_in_the_body_gets_them_there(
    api: Any, ask: Ask
) -> None:
    issuer = Issuer(api)
    issuer.only_in_body = True
    (found,) = await ask("/x", {}, auth=issuer.auth)
    assert found == {"token": "TOKEN0"}
    form, header = issuer.forms[1]
    assert (form["client_id"], form["client_secret"], header) == ("cl:ient", "S&CRET", None)


BAD: list[tuple[Any, str]] = [
    ({"status": 400, "text": "S&CRET"}, "answered 400"),
    ({"status": 403}, "answered 403"),
    ({"text": "<html>"}, "without a usable bearer token"),
    ({"text": "[]"}, "without a usable bearer token"),
    ({"text": '{"access_token": 7}'}, "without a usable bearer token"),
    ({"text": '{"access_token": "a\\r\\nX: y"}'}, "without a usable bearer token"),
    ({"text": '{"access_token": "a", "token_type": "mac"}'}, "without a usable bearer token"),
]


@pytest.mark.parametrize(("refusal", "says"), BAD, ids=lambda v: str(v)[:40])
async def test_no_token_stops_the_step_without_a_call_to_the_api(
    api: Any, ask: Ask, refusal: Any, says: str
) -> None:
    issuer = Issuer(api)
    issuer.refusals = [refusal] * 2
    found = await ask("/x/{ip}", {"ip": 1}, auth=issuer.auth)
    assert error(found[0]).startswith("No token: step geo: the token endpoint")
    assert says in error(found[0])
    assert "CRET" not in error(found[0])
    assert {path for _, path, _, _ in api.seen} == {"/token"}


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "3"}])
async def test_a_busy_token_endpoint_is_asked_again(api: Any, ask: Ask, headers: Any) -> None:
    issuer = Issuer(api)
    issuer.refusals = [{"status": 503, "headers": headers}] * 2
    (found,) = await ask("/x", {}, auth=issuer.auth)
    assert found == {"token": "TOKEN0"}


async def test_a_dead_token_endpoint_is_named_in_the_error(api: Any, engine: Any) -> None:
    auth = Auth("oauth2", user="u", secret="S", token_url="http://127.0.0.1:1/token?k=SECRET")
    step = http_step("geo", api.url + "/x", auth=auth, retry=Retry(2))
    _, out = await engine.run(Pipeline("p", (step,)), "a.jsonl", b"{}\n")
    assert b"the token endpoint 127.0.0.1:1" in out and b"SECRET" not in out
    assert api.seen == []


async def test_a_call_that_is_withdrawn_does_not_end_the_fetch_for_others(
    api: Any, engine: Any, one_step: Any
) -> None:
    issuer = Issuer(api)
    runs = [
        asyncio.create_task(engine.run(one_step(f"/{n}", auth=issuer.auth), "a.jsonl", b"{}\n"))
        for n in range(3)
    ]
    while not issuer.forms:
        await asyncio.sleep(0)
    runs[0].cancel()
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(b"TOKEN0" in out for _, out in results[1:])
    assert len(issuer.forms) == 1


async def test_a_whole_file_goes_with_a_token_and_again_with_a_new_one(
    api: Any, engine: Any, one_step: Any
) -> None:
    issuer = Issuer(api)
    for number in range(2):
        pipeline = one_step("/x", method="POST", format="raw", auth=issuer.auth)
        _, out = await engine.run(pipeline, "a.bin", b"x" * 3_000_000)
        assert out == b'{"token": "TOKEN%d"}' % number
        issuer.revoked.add("TOKEN0")
