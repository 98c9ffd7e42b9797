"""Whatever a record holds arrives as that value, as another program reads it, or isn't sent."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from roundtrip.enrich import Enricher, Pipeline
from roundtrip.enrich.settings import Batch, StepSettings
from tests.enrich.openapi.conftest import HERE, Enriched
from tests.enrich.openapi.mock import Mock
from tests.enrich.steps import http_step

pytestmark = pytest.mark.needs("node", "prism")

PLACES = ("path", "query", "keys", "header", "json", "text", "form", "batch")
RIGHT = {"right": True}


def steps(url: str) -> list[StepSettings]:
    """One step for each place of a request; headers only for values that are `plain`."""
    typed = {"Content-Type": "application/json"}
    body = {"value": "{value}", "within": ["<{value}>"]}
    post: dict[str, Any] = {"method": "POST", "idempotent": True}
    return [
        http_step("path", url + "/path/{value}/end"),
        http_step("query", url + "/query", query={"v&=": "{value}"}),
        http_step("keys", url + "/keys?value={batch}", batch=Batch(1, key="{value}")),
        http_step("header", url + "/header", headers={"X-Value": "{value}"}, when="plain"),
        http_step("json", url + "/json", json=body, **post),
        http_step("text", url + "/text", body='{"value": "{value}"}', headers=typed, **post),
        http_step("form", url + "/form", form={"value": "{value}", "&=ü": "1+1=2 & more"}, **post),
        http_step("batch", url + "/batch", batch=Batch(1, item="{value}"), **post),
    ]


def record(value: str) -> dict[str, Any]:
    # what is not ASCII has no agreed meaning in a header, and blanks around a value are none of it
    return {"value": value, "plain": value.isascii() and value == value.strip()}


@contextmanager
def serving(values: list[str], folder: Path) -> Iterator[Mock]:
    """The API of values.yaml, which knows these values only."""
    document = yaml.safe_load((HERE / "values.yaml").read_text())
    # twice `not`: otherwise its complaint would list them all, in a header, where not all can stand
    schemas = document["components"]["schemas"]
    schemas["Value"] = {"not": {"not": {"enum": values}}}
    schemas["Within"] = {"not": {"not": {"enum": [f"<{value}>" for value in values]}}}
    served = folder / "values.json"
    served.write_text(json.dumps(document))
    with Mock(served, folder / "log", "--errors") as mock:
        yield mock


CLIMBS = {"path": "Unusable field"}
EMPTY = dict.fromkeys(("path", "query", "keys", "header"), "Missing field")
LINES = {"header": "Unusable field"}

HOSTILE: list[tuple[str, dict[str, str]]] = [
    ("plain", {}),
    ("", EMPTY),
    (" ", {}),
    (".", CLIMBS),
    ("..", CLIMBS),
    ("../../etc/passwd", CLIMBS),
    ("a\\..\\b", CLIMBS),
    ("...", {}),
    ("a/b//c", {}),
    ("/", {}),
    ("//evil.example/x", {}),
    ("http://evil.example/?a=b#c", {}),
    ("@evil.example:80", {}),
    ("?x=1&y=2;z=3#end", {}),
    ("a b+c%20d%2Be", {}),
    ("%", {}),
    ("%zz%%u00fc", {}),
    ("%2F%2e%2e%00", {}),
    ("%2F%2e%2e%2F", CLIMBS),  # for a server that decodes twice
    ("{value}{{value}}${HOME}{plain}", {}),
    ("\"double\" 'single' `back`", {}),
    ('","admin":true,"x":"', {}),
    ("back\\slash\\n\\u0041\\", {}),
    ("tab\tinside", {}),
    ("two\r\nX-Evil: 1", LINES),
    ("nul\x00 bell\x07 del\x7f", LINES),
    ("ä ö ü ß é", {}),
    ("e\u0301 is not \u00e9", {}),
    ("日本語 한국어 עברית العربية", {}),
    ("👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 \U0001d518", {}),
    ("\u202eright to left\u2028line\u2029\ufeff\ufffe\uffff", {}),
    ("<script>&amp;<![CDATA[", {}),
    ("[1,2]", {}),
    ("null", {}),
    ("-0", {}),
    ("1e400", {}),
    ("__proto__", {}),
    ("; DROP TABLE x; --", {}),
    ("a,b|c;d e", {}),
    ("x" * 6000, {}),
]


LONG = "🙂" * 300_000
TOO_LONG = "x" * 20_000  # for the server's bound of 16 KiB on a request's head


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    """Knows the values above."""
    values = [*(value for value, _ in HOSTILE), LONG, TOO_LONG]
    with serving(values, tmp_path_factory.mktemp("values")) as mock:
        yield mock


async def test_each_value_arrives_as_it_is_or_is_its_records_error(
    api: Mock, enriched: Enriched
) -> None:
    found = await enriched(steps(api.url), *(record(value) for value, _ in HOSTILE))
    asked, refused = api.seen()
    assert refused == []
    for one, (value, faults) in zip(found, HOSTILE, strict=True):
        for place in PLACES:
            if place == "header" and not one["plain"]:
                assert place not in one
            elif place in faults:
                assert one[place]["error"]["title"] == faults[place], (place, value)
            else:
                assert one[place] == RIGHT, (place, value)
    in_paths = [path for path in asked if path.startswith("get /path/")]
    assert len(in_paths) == sum("path" not in faults for _, faults in HOSTILE)


async def test_a_value_that_arrives_as_another_is_refused(api: Mock, enriched: Enriched) -> None:
    (found,) = await enriched(steps(api.url), record("plain+"))
    asked, refused = api.seen()
    assert [found[place]["error"]["status"] for place in PLACES] == [422] * len(PLACES)
    assert len(asked) == len(PLACES) and len(refused) >= len(PLACES)


async def test_a_long_value_is_sent_whole_where_the_api_takes_it(
    api: Mock, enriched: Enriched
) -> None:
    every = steps(api.url)
    long, too_long = await enriched(every, record(LONG), record(TOO_LONG))
    heads = ("path", "query", "keys", "header")
    assert all(long[place] == too_long[place] == RIGHT for place in PLACES if place not in heads)
    too_large = "431 Request Header Fields Too Large"
    assert [too_long[place]["error"]["title"] for place in heads] == [too_large] * len(heads)
    assert "xxx" not in str([too_long[place]["error"] for place in heads])
    assert api.seen()[1] == []


async def test_half_a_character_is_never_sent(api: Mock, engine: Any) -> None:
    pipeline = Pipeline("test", tuple(steps(api.url)))
    half = b'{"value": "\\ud83d", "plain": false}\n'
    result, _ = await engine.run(pipeline, "a.jsonl", half)
    assert (result.stats.calls, result.stats.failed) == (0, 1)
    assert api.seen() == ([], [])


# Signs that mean something in URLs, forms, JSON or headers, and others that are hard to write.
SIGNS = "%/\\?#&=+;:@.,{}[]\"'<>|^`~$ \t\r\n\0\x7f\x85\xa0éß漢🙂\u0301\u200d\ufeff\U0010ffff"
TEXTS = st.lists(st.one_of(st.text(SIGNS), st.text()), min_size=30, max_size=90, unique=True)


# Each example starts the API anew; looking for a smaller one would take too long.
@settings(max_examples=2, phases=[Phase.explicit, Phase.generate], database=None)
@given(TEXTS)
def test_any_text_arrives_as_it_is_or_is_its_records_error(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, serving(values, Path(folder)) as api:
        found = asyncio.run(run(steps(api.url), values))
        _, refused = api.seen()
    assert refused == []
    ours = {"Missing field", "Unusable field"}  # said before anything is sent
    for one in found:
        answers = [one[place] for place in PLACES if place in one]
        assert len(answers) == len(PLACES) - (not one["plain"])
        assert all(found == RIGHT or found["error"]["title"] in ours for found in answers), one


async def run(steps: list[StepSettings], values: list[str]) -> list[dict[str, Any]]:
    enricher, sink = Enricher([]), io.BytesIO()
    payload = b"".join(json.dumps(record(value)).encode() + b"\n" for value in values)
    try:
        await enricher.run(Pipeline("test", tuple(steps)), "a.jsonl", io.BytesIO(payload), sink)
    finally:
        await enricher.aclose()
    return [json.loads(line) for line in sink.getvalue().splitlines()]
