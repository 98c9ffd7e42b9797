"""The how-to pages of jobs, batches and pages: each configuration does what its page says."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from roundtrip.config import load

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
YAML = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
BLOCKS = [
    (page, number, text)
    for page in ("asynchronous-apis.md", "batch-and-pages.md")
    for number, text in enumerate(YAML.findall((HOW_TO / page).read_text()))
]
STEADY: dict[str, Any] = {
    "/reports/1": {"rating": "AAA"},
    "/v1/analyses": {"id": "j7", "state": "queued"},
    "/v1/analyses/j7": {"state": "finished", "links": {"result": "/files/j7"}},
    "/files/j7": {"mood": "good"},
    "/ocr/scan.pdf": {"state": "ready", "file": "/files/j7"},
}


async def documented(request: web.Request) -> web.Response:
    """The APIs that the pages speak of."""
    path = request.path
    if path in STEADY:
        return web.json_response(STEADY[path])
    if path == "/reports":
        return web.Response(status=202, headers={"Location": "/reports/1"})
    if path == "/batch":
        items = await request.json()
        return web.json_response([{"country": item["query"][:2]} for item in items])
    if path == "/scores":
        asked = await request.json()
        assert asked["mode"] == "fast"
        scores = [{"name": item["name"], "keys": sorted(item)} for item in asked["requests"]]
        return web.json_response({"data": {"scores": scores}})
    if path == "/epss":
        rows = [{"cve": cve, "epss": cve[-1]} for cve in request.query["cve"].split(",")]
        return web.json_response({"data": rows[::-1]})
    assert path == "/authors/a1/works"
    second = "page" in request.query
    headers = {} if second else {"Link": '<?page=2>; rel="next"'}
    return web.json_response({"results": [{"title": "AB"[second]}]}, headers=headers)


IPS = [{"ip": "DE"}, {"ip": "FR"}]
DONE: dict[tuple[str, int], tuple[list[dict[str, Any]], list[Any]]] = {
    ("asynchronous-apis.md", 0): ([{"vat": "X"}], [{"rating": "AAA"}]),
    ("asynchronous-apis.md", 1): ([{"text": "X"}], [{"mood": "good"}]),
    ("batch-and-pages.md", 0): (IPS, [{"country": "DE"}, {"country": "FR"}]),
    ("batch-and-pages.md", 1): (
        [{"name": "a", "country": "b", "other": "no"}],
        [{"name": "a", "keys": ["country", "name"]}],
    ),
    ("batch-and-pages.md", 2): ([{"cve": "C1"}, {"cve": "C2"}], [{"score": "1"}, {"score": "2"}]),
    ("batch-and-pages.md", 3): ([{"author": "a1"}], [{"count": 2, "titles": ["A", "B"]}]),
}  # fmt: skip


@pytest.mark.parametrize(("page", "number", "text"), BLOCKS, ids=lambda v: str(v)[:20])
async def test_a_page_does_what_it_says(
    api: Any, engine: Any, tmp_path: Path, page: str, number: int, text: str
) -> None:
    api.answer = documented
    file = tmp_path / "roundtrip.yaml"
    file.write_text(text.replace("https://api.example.org", api.url))
    (pipeline,) = load(file).pipelines
    step = pipeline.steps[0]
    if pipeline.format == "raw":
        result, out = await engine.run(pipeline, "scan.pdf", b"%PDF")
        assert (json.loads(out), result.media_type.split(";")[0]) == (
            {"mood": "good"},
            "application/json",
        )
        return
    records, expected = DONE[page, number]
    payload = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    sink = io.BytesIO()
    await engine.enricher.run(pipeline, "x.jsonl", io.BytesIO(payload), sink)
    assert [json.loads(line)[step.name] for line in sink.getvalue().splitlines()] == expected
