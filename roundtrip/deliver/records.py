"""The first record of a result, for fields such as the address that it is to be mailed to."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from roundtrip.deliver import content
from roundtrip.deliver.port import Parcel

HEAD = 256 * 1024  # bytes that are looked at: a record is short, a table may be long
SMALL = 1024 * 1024  # bytes of a JSON document, which has to be read whole
_DELIMITERS = ",;\t|"


def first(parcel: Parcel) -> dict[str, Any]:
    """The first record's fields; none where the file has no records, or none that can be read."""
    read = _READERS.get(Path(parcel.original_name).suffix.lower())
    if read is None:
        return {}
    with content.opened(parcel) as source:
        head = source.read(SMALL + 1)
    try:
        found = read(head)
    except (ValueError, RecursionError, csv.Error, StopIteration):
        return {}
    return found if isinstance(found, dict) else {}


def _csv(head: bytes) -> object:
    text = _lines(head)
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    return next(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def _tsv(head: bytes) -> object:
    return next(csv.DictReader(io.StringIO(_lines(head), newline=""), delimiter="\t"))


def _lines(head: bytes) -> str:
    """The beginning as text, cut where a line ends: a character may be cut at the very end."""
    whole = head if len(head) <= HEAD else head[:HEAD].rpartition(b"\n")[0]
    return whole.decode("utf-8-sig")


def _json_lines(head: bytes) -> object:
    return json.loads(head[:HEAD].split(b"\n", 1)[0])


def _json(head: bytes) -> object:
    if len(head) > SMALL:
        return None
    found = json.loads(head)
    return found[0] if isinstance(found, list) and found else found


_READERS = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
