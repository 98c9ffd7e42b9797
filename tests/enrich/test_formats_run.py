"""Formats under the engine: real answers and errors in documents."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

PAYLOAD = b"<r>\n <!-- 1 -->\n <a><n>1</n></a>\n <!-- 2 -->\n <a><n>2</n></a>\n <!-- 3 -->\n</r>\n"


@pytest.mark.parametrize(
    ("on_error", "second"),
    [
        ("drop", b""),
        ("annotate", b"\n <a><n>2</n><geo><error><title>404 Not Found</title><status>404</status>"),
    ],
)
async def test_a_documents_records_are_enriched_dropped_or_annotated_in_their_place(
    api: Any, engine: Any, one_step: Any, on_error: str, second: bytes
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/2":
            return web.Response(status=404)
        return web.json_response({"country": "DE"})

    api.answer = answer
    pipeline = one_step("/{n}", select={"country": "country"}, on_error=on_error)
    result, written = await engine.run(pipeline, "a.xml", PAYLOAD)
    assert result.media_type == "application/xml"
    assert (result.stats.records, result.stats.failed) == (2, 1)
    first = b"<r>\n <!-- 1 -->\n <a><n>1</n><geo><country>DE</country></geo></a>\n <!-- 2 -->"
    assert written.startswith(first + second)
    assert written.endswith(b"\n <!-- 3 -->\n</r>\n")
    assert (b"<n>2</n>" in written) is bool(second)


async def test_a_table_by_name_tsv_is_enriched_as_one(api: Any, engine: Any, one_step: Any) -> None:
    pipeline = one_step("/{a,b}", select={"city": "location.city"})
    _, written = await engine.run(pipeline, "a.tsv", b"a,b\n1\n")
    assert written.decode() == "a,b\tgeo.city\tgeo.error\n1\tK\u00f6ln\t\n"
