"""Answers: their charset, their compression, what may be kept of them, and what they may not be."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import jmespath
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.steps.http.answers import selector
from tests.enrich.http.conftest import Ask, error


def answering(api: Any, body: bytes, **headers: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(body=body, headers=named)

    api.answer = answer


CHARSETS = [
    ("utf-8", "application/json"),
    ("utf-8", "application/json; charset=UTF-8"),
    ("utf-8-sig", "application/json"),
    ("latin-1", "application/json; charset=ISO-8859-1"),
    ("cp1252", 'text/plain; q=1; Charset="windows-1252"'),
    ("utf-16", "application/json; charset=utf-16"),
    ("utf-8", "application/json; charset=us-ascii"),
]


@pytest.mark.parametrize(("charset", "media_type"), CHARSETS)
async def test_an_answer_is_read_in_its_charset(
    api: Any, ask: Ask, charset: str, media_type: str
) -> None:
    answering(api, '{"city": "Köln"}'.encode(charset), Content_Type=media_type)
    assert await ask("/x", {}) == [{"city": "Köln"}]


@pytest.mark.parametrize("charset", ["klingon", "base64", "idna", "unicode-escape", "''"])
async def test_an_unknown_charset_is_a_record_error(api: Any, ask: Ask, charset: str) -> None:
    answering(api, b"1", Content_Type=f"application/json; charset={charset}")
    (found,) = await ask("/x", {})
    assert "unknown charset" in error(found)


async def test_text_that_is_not_in_its_charset_is_a_record_error(api: Any, ask: Ask) -> None:
    answering(api, b"\xff\xfe\x00", Content_Type="application/json; charset=utf-16")
    (found,) = await ask("/x", {})
    assert "not its charset" in error(found)
    answering(api, b'"\xff"', Content_Type="application/json")
    (found,) = await ask("/y", {})
    assert "no valid JSON" in error(found)


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (200, b" \n"), (201, b"")])
async def test_no_content_is_null(api: Any, ask: Ask, status: int, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body or None)

    api.answer = answer
    assert await ask("/x", {}) == [None]


def bare(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


BODY = json.dumps({"v": "x" * 1_000_000}).encode()
PACKED = [
    ("gzip", gzip.compress(BODY)),
    ("X-GZIP", gzip.compress(BODY)),
    ("gzip", gzip.compress(BODY[:10]) + gzip.compress(BODY[10:]) + bytes(20)),
    ("deflate", zlib.compress(BODY)),
    ("deflate", bare(BODY)),
    ("identity", BODY),
]


@pytest.mark.parametrize(("encoding", "body"), PACKED, ids=lambda v: str(v)[:10])
async def test_a_compressed_answer_is_unpacked(
    api: Any, ask: Ask, encoding: str, body: bytes
) -> None:
    answering(api, body, Content_Encoding=encoding)
    assert await ask("/x", {}) == [{"v": "x" * 1_000_000}]


BROKEN = [
    ("gzip", gzip.compress(BODY)[:-9], "cut short"),
    ("gzip", b"{}", "broken"),
    ("deflate", b"\xff\xff", "broken"),
    ("br", b"{}", "not one that was asked for"),
    ("gzip, gzip", b"{}", "not one that was asked for"),
]


@pytest.mark.parametrize(("encoding", "body", "says"), BROKEN)
async def test_a_broken_compression_is_a_record_error(
    api: Any, ask: Ask, encoding: str, body: bytes, says: str
) -> None:
    answering(api, body, Content_Encoding=encoding)
    (found,) = await ask("/x", {})
    assert says in error(found)


async def test_a_bomb_in_a_whole_file_is_an_error(api: Any, engine: Any, one_step: Any) -> None:
    bomb = zlib.compressobj(9, wbits=31)
    body = b"".join(bomb.compress(bytes(1_000_000)) for _ in range(200)) + bomb.flush()
    answering(api, body, Content_Encoding="gzip")
    with pytest.raises(Exception, match="decompression bomb"):
        await engine.run(one_step("/x", method="POST", format="raw"), "a", b"x")


async def test_a_good_answer_to_a_whole_file_may_be_larger_than_any_bound(
    api: Any, engine: Any, one_step: Any
) -> None:
    answering(api, gzip.compress(BODY), Content_Encoding="gzip")
    pipeline = one_step("/x", method="POST", format="raw", max_response=10)
    assert (await engine.run(pipeline, "a", b"x"))[1] == BODY


async def test_a_tag_is_asked_about_again_and_an_unchanged_answer_is_not_sent(
    api: Any, ask: Ask
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.json_response(len(api.seen), headers={"ETag": '"v1"'})

    api.answer = answer
    for exchange in "abc":
        assert await ask("/x", {}, cache=0.0, exchange=exchange) == [1]
    assert [headers.get("If-None-Match") for _, _, _, headers in api.seen] == [None, '"v1"', '"v1"']


@pytest.mark.parametrize(
    ("control", "calls"),
    [
        ("no-store", 2),
        ("max-age=5, NO-STORE", 2),
        ("private", 1),
        ("no-cache", 1),
        ("x=no-store", 1),
    ],
)
async def test_an_answer_that_must_not_be_kept_is_not(
    api: Any, ask: Ask, control: str, calls: int
) -> None:
    answering(api, b"1", Cache_Control=control)
    for exchange in "ab":
        await ask("/x", {}, cache=60.0, exchange=exchange)
    assert len(api.seen) == calls


async def test_a_304_that_nobody_asked_for_is_a_record_error(api: Any, ask: Ask) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=304)

    api.answer = answer
    (found,) = await ask("/x", {})
    assert found["error"]["status"] == 304


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab", max_size=2), inner),
)


@given(values, st.sampled_from(["a", "a.b", "a.b.ab", "b[0]", "length(@)", '"a".b', "a || b"]))
def test_a_plain_way_finds_what_jmespath_finds(value: object, expression: str) -> None:
    try:
        expected = jmespath.search(expression, value)
    except jmespath.exceptions.JMESPathError:
        with pytest.raises(jmespath.exceptions.JMESPathError):
            selector(expression)(value)
        return
    assert selector(expression)(value) == expected
