"""The examples in docs/reference/formats.md are run: what they show is what comes out."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from roundtrip.enrich.formats.opening import BY_EXTENSION, opened
from roundtrip.enrich.settings import Formats
from tests.enrich.through import GEO, germany, records, through

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/formats.md").read_text()
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```\n\n```\1 answer\n(.*?)^```", PAGE, re.M | re.S)
FIELDS = re.findall(r"^\| `(<.*>)` \| `(\S+?)`[^`\n]*(?:`(\S+?)`)?", PAGE, re.M)


@pytest.mark.parametrize(
    ("kind", "payload", "answer"), EXAMPLES, ids=[kind for kind, _, _ in EXAMPLES]
)
def test_an_example_is_what_comes_out(kind: str, payload: str, answer: str) -> None:
    formats = Formats(json_path="data.items") if kind == "json" else Formats()
    assert through(kind, payload.encode(), GEO, formats, answer=germany).decode() == answer


def test_every_record_format_but_tsv_has_an_example() -> None:
    assert {kind for kind, _, _ in EXAMPLES} | {"tsv"} == set(BY_EXTENSION.values())


def test_fields_are_found_where_the_table_says() -> None:
    assert len(FIELDS) == 5
    for element, *names in FIELDS:
        payload = f"<r xmlns:x='u'><a id='1'>{element}</a></r>".encode()
        (record,) = records("xml", payload, Formats(xml_record="a"))
        assert record.fields["@id"] == "1"
        for name in filter(None, names):
            found: Any = record.fields
            for part in name.split("."):
                found = found[int(part)] if part.isdecimal() else found[part]
            assert isinstance(found, str)


def test_the_table_knows_names_and_media_types() -> None:
    for extension, kind in BY_EXTENSION.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |"))
        payload = opened(kind, io.BytesIO(b"[]"), ())
        assert f"`{extension}`" in row
        assert row.endswith(f"| `{payload.media_type}` |")
