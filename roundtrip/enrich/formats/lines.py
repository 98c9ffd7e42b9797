"""JSON Lines: one object on each line. Blank lines are skipped.

A line that isn't an object is a record error; annotated, it becomes
`{"error": {...}, "raw": "the line"}`, so every other line keeps its place.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import MAX_RECORD, Record


class LinesFormat:
    """A JSONL payload; implements `Format`."""

    media_type = "application/jsonl"

    def __init__(self, source: BinaryIO) -> None:
        self._source = source

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        number = 0
        while line := self._source.readline(MAX_RECORD + 1):
            number += 1
            if len(line) > MAX_RECORD:
                detail = f"line {number} is longer than {MAX_RECORD} bytes"
                raise PayloadFault("Unreadable payload", detail, position={"line": number})
            if number == 1:
                line = line.removeprefix(json_text.BOM)
            if not line.isspace() and line:
                yield _record(number, line)

    def writer(self, sink: BinaryIO) -> LinesWriter:
        """See `Format.writer`."""
        return LinesWriter(sink)


class LinesWriter:
    """Implements `Writer`."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        self._sink.write(encoded(record) + b"\n")

    def close(self) -> None:
        """See `Writer.close`."""


def encoded(record: Record) -> bytes:
    """The record as compact JSON, an unreadable one as its error and what stood there."""
    if record.unreadable is None:
        shown: object = record.fields
    else:
        shown = {"error": record.unreadable.as_dict(), "raw": record.raw}
    return json_text.encode(shown)


def _record(number: int, line: bytes) -> Record:
    try:
        value = json_text.decode(line)
    except RecursionError:
        return _unreadable(number, line, "is nested too deeply")
    except json_text.UNREADABLE as error:
        return _unreadable(number, line, f"is not valid JSON ({error})")
    if not isinstance(value, dict):
        return _unreadable(number, line, "is not an object")
    return Record(number, value, len(line))


def _unreadable(number: int, line: bytes, why: str) -> Record:
    fault = RecordFault("Unreadable record", f"line {number} {why}")
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return Record(number, {}, len(line), text, fault)
