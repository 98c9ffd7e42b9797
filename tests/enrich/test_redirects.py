"""Which redirects are followed, with what, and which are not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from roundtrip.enrich.redirects import MOST, Redirects, Unfollowed, following

HERE = "https://user:pw@api.example/v1/{id}?key=SECRET".replace("{id}", "7")


def redirect(status: int, location: str) -> httpx.Response:
    return httpx.Response(status, headers={"location": location})


FOLLOWED = [
    (301, "GET", "/v2/7", "GET", "https://user:pw@api.example/v2/7"),
    (302, "GET", "8?x=%2F", "GET", "https://user:pw@api.example/v1/8?x=%2F"),
    (302, "HEAD", "8", "HEAD", "https://user:pw@api.example/v1/8"),
    (303, "POST", "https://api.example/r", "GET", "https://user:pw@api.example/r"),
    (303, "GET", "//api.example/r", "GET", "https://user:pw@api.example/r"),
    (307, "POST", "https://API.example:443/r", "POST", "https://user:pw@api.example/r"),
    (308, "PUT", "?again", "PUT", "https://user:pw@api.example/v1/7?again"),
    (302, "GET", "https://evil:x@api.example/r#top", "GET", "https://user:pw@api.example/r"),
]


@pytest.mark.parametrize(("status", "method", "location", "then", "url"), FOLLOWED)
def test_a_redirect_on_the_same_host_is_followed(
    status: int, method: str, location: str, then: str, url: str
) -> None:
    content = b"{}" if method in ("POST", "PUT") else None
    headers = {"authorization": "t", "content-type": "application/json"}
    old = httpx.Request(method, HERE, headers=headers, content=content)
    new = following(old, redirect(status, location))
    assert (new.method, str(new.url)) == (then, httpx.URL(url))
    assert new.headers["authorization"] == "t"
    kept = then == method and content is not None
    assert new.content == (content if kept else b"")
    assert new.headers.get("content-length") == ("2" if kept else None)
    assert new.headers.get("content-type") == (None if status == 303 else "application/json")


REFUSED = [
    (302, "GET", "https://evil.example/x?key=SECRET", "it redirects to evil.example, and"),
    (302, "GET", "//evil.example/", "it redirects to evil.example, and"),
    (302, "GET", "https://api.example@evil.example/", "it redirects to evil.example, and"),
    (302, "GET", "https://api.example.evil.example/", "to api.example.evil.example, and"),
    (302, "GET", "https://api.example:8443/", "it redirects to api.example:8443, and"),
    (302, "GET", "https://169.254.169.254/", "it redirects to 169.254.169.254, and"),
    (302, "GET", "http://api.example/", "from https to http"),
    (302, "GET", "ftp://api.example/", "something that can't be called"),
    (302, "GET", "file:///etc/passwd", "something that can't be called"),
    (302, "GET", "https://[::1", "something that can't be called"),
    (302, "GET", "https://api.example:99999/", "something that can't be called"),
    (301, "POST", "/v2", r"it redirects a POST \(301\)"),
    (302, "PUT", "/v2", r"it redirects a PUT \(302\)"),
    (307, "POST", "https://evil.example/", "it redirects to evil.example, and"),
]


@pytest.mark.parametrize(("status", "method", "location", "says"), REFUSED)
def test_another_redirect_is_not_followed(
    status: int, method: str, location: str, says: str
) -> None:
    with pytest.raises(Unfollowed, match=says) as caught:
        following(httpx.Request(method, HERE), redirect(status, location))
    assert "SECRET" not in str(caught.value)
    assert "pw" not in str(caught.value)


UPGRADES = [
    ("http://api.example/", "https://api.example/", True),
    ("http://api.example:80/", "https://api.example:443/", True),
    ("http://api.example:8080/", "https://api.example:8080/", True),
    ("http://api.example:8080/", "https://api.example/", False),
    ("http://api.example/", "https://api.example:8443/", False),
    ("http://api.example/", "https://other.example/", False),
]


@pytest.mark.parametrize(("old", "new", "expected"), UPGRADES)
def test_http_may_lead_to_https_on_the_same_host(old: str, new: str, expected: bool) -> None:
    try:
        found = following(httpx.Request("GET", old), redirect(301, new))
    except Unfollowed:
        assert not expected
    else:
        assert expected
        assert found.url.scheme == "https"


def test_a_streamed_body_is_not_sent_twice() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    old = httpx.Request("POST", HERE, content=pieces())
    with pytest.raises(Unfollowed, match="not sent twice"):
        following(old, redirect(307, "/v2"))
    assert following(old, redirect(303, "/v2")).method == "GET"


class Scripted(httpx.AsyncBaseTransport):
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answer(request)


async def ask(answer: Any, **timeout: float) -> tuple[Scripted, httpx.Response]:
    below = Scripted(answer)
    request = httpx.Request("GET", "http://h.example/0", extensions={"timeout": timeout})
    return below, await Redirects(below).handle_async_request(request)


async def test_the_last_answer_counts() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        step = int(request.url.path[1:])
        return redirect(302, f"/{step + 1}") if step < MOST else httpx.Response(200)

    below, response = await ask(answer)
    assert response.status_code == 200
    assert [each.url.path for each in below.seen] == [f"/{step}" for step in range(MOST + 1)]


async def test_a_loop_ends() -> None:
    with pytest.raises(Unfollowed, match="more than 5 times"):
        await ask(lambda _: redirect(302, "/0"))


@pytest.mark.parametrize("status", [200, 300, 304, 404, 500])
async def test_what_is_no_redirect_is_left_alone(status: int) -> None:
    below, response = await ask(lambda _: redirect(status, "/x"))
    assert (response.status_code, len(below.seen)) == (status, 1)


async def test_a_redirect_to_nowhere_is_left_alone() -> None:
    below, response = await ask(lambda _: httpx.Response(302))
    assert (response.status_code, len(below.seen)) == (302, 1)


async def test_a_status_that_the_caller_wants_to_see_is_left_alone() -> None:
    below = Scripted(lambda request: redirect(303 if request.url.path == "/1" else 302, "/1"))
    request = httpx.Request("GET", "http://h.example/0", extensions={"as_is": 303})
    response = await Redirects(below).handle_async_request(request)
    assert (response.status_code, len(below.seen)) == (303, 2)


async def test_the_time_is_for_all_requests_together() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        done = request.url.path == "/2"
        return httpx.Response(200) if done else redirect(302, f"/{int(request.url.path[1:]) + 1}")

    below, _ = await ask(answer, total=9.0, connect=2.0)
    left = [each.extensions["timeout"]["total"] for each in below.seen]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 3
    assert {each.extensions["timeout"]["connect"] for each in below.seen} == {2.0}
    with pytest.raises(httpx.ReadTimeout):
        await ask(answer, total=0.0)
