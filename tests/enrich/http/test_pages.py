"""Answers in pages: items are joined, and the way from page to page can't be led astray."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from roundtrip.enrich.settings import Auth, Pages
from tests.enrich.http.conftest import Ask, error


def numbered_pages(api: Any, count: int) -> None:
    """Pages of two items, with all three kinds of signpost; the one after the last is empty."""

    async def answer(request: web.Request) -> web.Response:
        page = int(request.query.get("page") or request.query.get("after") or "1")
        items = [2 * page, 2 * page + 1] if page <= count else []
        following = f"/list?q=a&page={page + 1}" if page < count else None
        headers = {"Link": f'<{following}>; rel="next"'} if following else {}
        after = page + 1 if page < count else None
        body = {"items": items, "next": following, "meta": {"after": after}}
        return web.json_response(body, headers=headers)

    api.answer = answer


WAYS = [
    (Pages(items="items", next="link"), ["/list?q=a", "/list?q=a&page=2", "/list?q=a&page=3"]),
    (Pages(items="items", next="next"), ["/list?q=a", "/list?q=a&page=2", "/list?q=a&page=3"]),
    (
        Pages(items="items", cursor="meta.after", param="after"),
        ["/list?q=a", "/list?q=a&after=2", "/list?q=a&after=3"],
    ),
    (
        Pages(items="items"),
        [f"/list?q=a&page={number}" for number in (1, 2, 3, 4)],
    ),
]


@pytest.mark.parametrize(("pages", "paths"), WAYS, ids=["link", "next", "cursor", "count"])
async def test_pages_make_one_list(api: Any, ask: Ask, pages: Pages, paths: list[str]) -> None:
    numbered_pages(api, 3)
    (found,) = await ask("/list?q={q}", {"q": "a"}, pages=pages)
    assert found == [2, 3, 4, 5, 6, 7]
    assert [path for _, path, _, _ in api.seen] == paths


async def test_select_sees_the_whole_list(api: Any, ask: Ask) -> None:
    numbered_pages(api, 3)
    pages = Pages(items="items", next="link")
    (found,) = await ask("/list?q=a", {}, pages=pages, select={"n": "length(@)", "last": "[-1]"})
    assert found == {"n": 6, "last": 7}


async def test_counting_may_begin_anywhere(api: Any, ask: Ask) -> None:
    numbered_pages(api, 3)
    (found,) = await ask("/list", {}, pages=Pages(items="items", first=3))
    assert found == [6, 7]


@pytest.mark.parametrize("pages", [way for way, _ in WAYS[:3]], ids=["link", "next", "cursor"])
async def test_more_pages_than_allowed_are_an_error(api: Any, ask: Ask, pages: Pages) -> None:
    numbered_pages(api, 3)
    few = Pages(pages.items, pages.next, pages.cursor, pages.param, most=2)
    (found,) = await ask("/list?q=a", {}, pages=few)
    assert "more pages than 2" in error(found)
    assert len(api.seen) == 2


@pytest.mark.parametrize(
    ("following", "says"),
    [
        ("http://evil.example/x", "leads to another host"),
        ("//evil.example/x", "leads to another host"),
        ("https://127.0.0.1/x", "leads to another host"),
        ("http://u:p@{host}/x", "leads to another host"),
        ("http://a:b/", "names no usable URL"),
        ("/list", "round in a circle"),
        ("#top", "round in a circle"),
        (["x"], "neither text nor a number"),
        (True, "neither text nor a number"),
    ],
)
async def test_a_way_that_leads_astray_is_not_followed(
    api: Any, ask: Ask, following: Any, says: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        named = following
        if isinstance(following, str):
            named = following.replace("{host}", request.host)
        return web.json_response({"items": [1], "next": named})

    api.answer = answer
    (found,) = await ask("/list", {}, pages=Pages(items="items", next="next"))
    assert says in error(found)
    assert len(api.seen) == 1


@pytest.mark.parametrize("items", [{"a": 1}, "text", 7])
async def test_items_that_are_no_list_are_an_error(api: Any, ask: Ask, items: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"items": items})

    api.answer = answer
    (found,) = await ask("/list", {}, pages=Pages(items="items", next="link"))
    assert "finds no list" in error(found)


async def test_all_pages_together_have_a_bound(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        number = int(request.query.get("page", "1"))
        return web.json_response(
            {"items": ["x" * 400]}, headers={"Link": f"<?page={number + 1}>;rel=next"}
        )

    api.answer = answer
    pages = Pages(items="items", next="link")
    (found,) = await ask("/list", {}, pages=pages, max_response=2000)
    assert "its pages are larger than 2000 bytes" in error(found)
    assert len(api.seen) == 5


async def test_a_key_in_the_query_goes_to_each_page(api: Any, ask: Ask) -> None:
    numbered_pages(api, 2)
    auth = Auth("key", secret="s", name="k", place="query")
    (found,) = await ask("/list?q=a", {}, pages=Pages(items="items", next="link"), auth=auth)
    assert found == [2, 3, 4, 5]
    assert [path for _, path, _, _ in api.seen] == ["/list?q=a&k=s", "/list?q=a&page=2&k=s"]


async def test_a_page_that_fails_for_a_moment_is_asked_again_alone(api: Any, ask: Ask) -> None:
    numbered_pages(api, 3)
    good = api.answer

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if len(api.seen) == 2 else await good(request)

    api.answer = answer
    (found,) = await ask("/list?q=a", {}, pages=Pages(items="items", next="link"))
    assert found == [2, 3, 4, 5, 6, 7]
    assert len(api.seen) == 4
