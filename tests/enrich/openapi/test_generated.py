"""Answers that a generator makes up of a document: no crash, whatever comes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Set
from typing import Any

import pytest
from lxml import etree

from roundtrip.enrich import Pipeline
from roundtrip.enrich.settings import Batch, Job, Pages
from tests.enrich.openapi.conftest import Enriched, Serve
from tests.enrich.steps import http_step

pytestmark = pytest.mark.needs("node", "prism")

RECORDS = 30
FAULTS = {
    "500 Internal Server Error",  # prism's own generator fails now and then
    "Unusable answer",
    "Job failed",
    "Missing field",
    "Missing answer",
    "Unusable field",
}
ASTRAY = {"404 Not Found", "405 Method Not Allowed"}  # at a URL that an answer has named
PLAIN = {
    "name": "name",
    "city": '"geo.city"',
    "first": "list[0]",
    "deep": "more.more.name",
    "many": "[].name",
}
CALCULATED = {
    "longest": "max_by(list, &length(@))",
    "joined": "join(', ', list)",
    "sum": "sum(list)",
    "sorted": "sort(list)",
    "keys": "keys(@)",
    "number": "to_number(name)",
    "text": "to_string(@)",
}
SELECTIONS: dict[str, dict[str, str]] = {"all": {}, "plain": PLAIN, "calculated": CALCULATED}
SELECTIONS |= {name: {name: text} for name, text in (PLAIN | CALCULATED).items()}


def is_answer(found: Any, *, faults: Set[str] = FAULTS) -> bool:
    """Whether a step's answer is one; if not, it must be an error that is expected here."""
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict) or "title" not in error:
        return True
    assert error["title"] in faults, error
    return False


async def test_a_selection_of_whatever_is_answered_is_a_value_or_its_records_error(
    serve: Serve, enriched: Enriched
) -> None:
    api = serve("anything", "--dynamic")
    steps = [
        http_step(name, f"{api.url}/thing/{name}-{{id}}", select=select, concurrency=2)
        for name, select in SELECTIONS.items()
    ]
    records = [{"id": number} for number in range(RECORDS)]
    found = await enriched(steps, *records)
    assert [one["id"] for one in found] == list(range(RECORDS))
    for name, select in SELECTIONS.items():
        answers = [one[name] for one in found if is_answer(one[name])]
        assert not select or all(answer.keys() == select.keys() for answer in answers)
        assert answers or "(" in "".join(select.values())  # a function may suit none of them


def numbers_in(kind: str, out: bytes) -> list[int]:
    """The records' numbers, as another reader finds them."""
    if kind == "csv":
        return [int(row["id"]) for row in csv.DictReader(io.StringIO(out.decode(), newline=""))]
    if kind == "xml":
        return [int(row.findtext("id", "")) for row in etree.fromstring(out)]
    return [record["id"] for record in json.loads(out)]


PAYLOADS = {
    "csv": "id\n" + "".join(f"{number}\n" for number in range(RECORDS)),
    "xml": f"<r>{''.join(f'<row><id>{number}</id></row>' for number in range(RECORDS))}</r>",
    "json": json.dumps([{"id": number} for number in range(RECORDS)]),
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_whatever_is_answered_can_be_written(serve: Serve, engine: Any, kind: str) -> None:
    api = serve("anything", "--dynamic")
    steps = (
        http_step("all", api.url + "/thing/{id}"),
        http_step("plain", api.url + "/thing/{id}", select=PLAIN),
    )
    _, out = await engine.run(Pipeline("p", steps), f"a.{kind}", PAYLOADS[kind].encode())
    assert numbers_in(kind, out) == list(range(RECORDS))


async def test_made_up_cursors_are_asked_for_as_they_were_named(
    serve: Serve, enriched: Enriched
) -> None:
    api = serve("works", "--dynamic")
    step = http_step(
        "works",
        api.url + "/search?q={id}",
        pages=Pages(items="results", cursor="meta.next_cursor", param="cursor"),
        select={"dois": "[].doi"},
    )
    found = await enriched([step], *({"id": number} for number in range(RECORDS)))
    assert any(is_answer(one["works"]) for one in found)
    asked, refused = api.seen()
    assert len(asked) > RECORDS
    assert [text for text in refused if "equest " in text] == []


STATES = Job(url="/jobs/{id}", status="state", done=("done",), failed=("failed",))
KINDS: list[dict[str, Any]] = [
    {"path": "/things", "send": ("id",), "batch": Batch(4)},
    {"path": "/things", "batch": Batch(4, by="name", key="{id}", item="{id}")},
    {"path": "/things", "json": ["{id}"], "select": {"names": "[0].list[*].name"}},
    {"path": "/things", "json": ["{id}"], "pages": Pages("[0]", cursor="[1].name", most=3)},
    {"path": "/things", "json": ["{id}"], "pages": Pages("@", next="[0]", most=3)},
    {
        "path": "/jobs",
        "json": {},
        "job": Job(
            url="/jobs/{id}", status="state", done=("done",), failed=("failed",), within=60.0
        ),
    },
    {"path": "/jobs", "json": {}, "job": Job(url="/jobs/{id}", result="/thing/{state}")},
    {"path": "/jobs", "json": {}, "job": Job(url="{id}")},
]


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: str(settings)[10:60])
async def test_batches_pages_and_jobs_survive_whatever_is_answered(
    serve: Serve, enriched: Enriched, settings: dict[str, Any]
) -> None:
    api = serve("anything", "--dynamic")
    url = api.url + settings["path"]
    given = {name: value for name, value in settings.items() if name != "path"}
    step = http_step("thing", url, method="POST", idempotent=True, **given)
    found = await enriched([step], *({"id": number} for number in range(RECORDS)))
    assert [one["id"] for one in found] == list(range(RECORDS))
    for one in found:
        is_answer(one["thing"], faults=FAULTS | ASTRAY)
