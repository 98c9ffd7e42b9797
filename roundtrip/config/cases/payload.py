"""A test's records made into a payload, and the result made into records again."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from roundtrip.enrich import json_text
from roundtrip.enrich.formats.opening import BY_EXTENSION, opened
from roundtrip.enrich.settings import Pipeline

Row = Mapping[str, Any]

WRITTEN = ("csv", "tsv", "json", "jsonl")  # formats that records can be written in


def kind_of(pipeline: Pipeline, name: str | None) -> str:
    """The format of a test's payload, whose name may be left out."""
    if pipeline.format != "auto":
        return pipeline.format
    return "jsonl" if name is None else BY_EXTENSION.get(PurePath(name).suffix.lower(), "auto")


def payload(pipeline: Pipeline, kind: str, records: Sequence[Row]) -> bytes:
    """The records in a format. ValueError when the test has to write the payload out."""
    formats = pipeline.formats
    fixed = formats.json_path or formats.csv.header or formats.csv.encoding
    if kind not in WRITTEN or fixed:
        raise ValueError("input.records: this payload has a form of its own; give input.text")
    if kind == "json":
        return json_text.encode(list(records))
    if kind == "jsonl":
        return b"".join(json_text.encode(record) + b"\n" for record in records)
    delimiter = "\t" if kind == "tsv" else formats.csv.delimiter or ","
    return _table(records, delimiter, formats.csv.quote)


def records_of(pipeline: Pipeline, kind: str, result: bytes) -> list[object]:
    """The records of a result, as they would be read again."""
    if kind == "jsonl":
        return [json_text.decode(line) for line in result.splitlines() if line.strip()]
    found = opened(kind, io.BytesIO(result), [], pipeline.formats)
    return [record.fields for record in found.records()]


def _table(records: Sequence[Row], delimiter: str, quote: str) -> bytes:
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, columns, delimiter=delimiter, quotechar=quote, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()
