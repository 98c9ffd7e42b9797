"""Files that applications might hand in, and what must come back, made without roundtrip's code."""

from __future__ import annotations

import csv
import io
import json
from random import Random
from typing import Any, NamedTuple

from tests.e2e.api import item, turned

FORMATS = ("csv", "jsonl", "json", "bin", "raw")
_NOTES = ("plain", "with, comma", 'with "quotes"', "ünïcödé ✓", "", "two\nlines")


class Sample(NamedTuple):
    """A file, and the result that is expected of it."""

    name: str
    content: bytes
    result: bytes


def sample(random: Random, name: str, size: int) -> Sample:
    """A file of about `size` bytes whose format is its name's extension."""
    extension = name.rpartition(".")[2]
    if extension in ("bin", "raw"):
        content = random.randbytes(size)
        return Sample(name, content, turned(content) if extension == "bin" else content)
    records = _records(random, size)
    make = {"csv": _csv, "jsonl": _jsonl, "json": _json}[extension]
    return Sample(name, make(records, enriched=False), make(records, enriched=True))


def many(random: Random, name: str, keys: int) -> Sample:
    """JSON Lines whose records all have keys of their own, so that a kill finds calls under way."""
    records = [{"id": str(n), "key": f"k{random.randrange(10**9)}"} for n in range(keys)]
    return Sample(name, _jsonl(records, enriched=False), _jsonl(records, enriched=True))


def _records(random: Random, size: int) -> list[dict[str, Any]]:
    """A few keys, whatever the size: large files repeat them in wide records."""
    few = min(max(size // 200, 1), 12)
    keys = [f"k{random.randrange(10**6)}" for _ in range(few)]
    pad = max(size // few // 8, 1) if size > 4096 else 1
    records = []
    for number in range(few):
        note = random.choice(_NOTES) + random.randbytes(pad).hex()
        records += [
            {"id": str(number * 4 + turn), "key": keys[number], "note": note} for turn in range(4)
        ]
    random.shuffle(records)
    return records


def _csv(records: list[dict[str, Any]], *, enriched: bool) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    added = ["item.label", "item.size", "item.error"] if enriched else []
    rows.writerow(["id", "key", "note", *added])
    for record in records:
        found = item(record["key"])
        rows.writerow(
            [*record.values(), *([found["label"], found["size"], ""] if enriched else [])]
        )
    return text.getvalue().encode()


def _lines(records: list[dict[str, Any]], *, enriched: bool) -> list[str]:
    if enriched:
        records = [record | {"item": _selected(record["key"])} for record in records]
    return [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records]


def _jsonl(records: list[dict[str, Any]], *, enriched: bool) -> bytes:
    return "".join(f"{line}\n" for line in _lines(records, enriched=enriched)).encode()


def _json(records: list[dict[str, Any]], *, enriched: bool) -> bytes:
    body = ",\n".join(_lines(records, enriched=enriched))
    return f"[\n{body}\n]\n".encode()


def _selected(key: str) -> dict[str, object]:
    found = item(key)
    return {"label": found["label"], "size": found["size"]}
