"""JSON Lines: one object on each line. Blank lines are skipped.

A line comes back byte for byte, the answers appended to its object. Only if a member of an answer's
name is there already is the line written anew: the answer takes that member's place.

A line that isn't an object is a record error; annotated, it becomes
`{"error": {...}, "raw": "the line"}`, so every other line keeps its place.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import MAX_RECORD, Column, Record, places


class LinesFormat:
    """A JSONL payload; implements `Format`."""

    media_type = "application/jsonl"

    def __init__(self, source: BinaryIO, columns: Sequence[Column]) -> None:
        self._source = source
        self._places = places(columns)

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
            line = line.strip()
            if line:
                yield self._record(number, line)

    def writer(self, sink: BinaryIO) -> LinesWriter:
        """See `Format.writer`."""
        return LinesWriter(sink, self._places)

    def _record(self, number: int, line: bytes) -> Record:
        try:
            value = json_text.received(line)
        except RecursionError:
            return _unreadable(number, line, "is nested too deeply")
        except json_text.UNREADABLE as error:
            return _unreadable(number, line, f"is not valid JSON ({error})")
        if not isinstance(value, dict):
            return _unreadable(number, line, "is not an object")
        return Record(number, value, len(line), kept(line, value, self._places))


class LinesWriter:
    """Implements `Writer`."""

    def __init__(self, sink: BinaryIO, places: Sequence[str]) -> None:
        self._sink = sink
        self._places = places

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        if not record.dropped:
            self._sink.write(encoded(record, self._places) + b"\n")

    def close(self) -> None:
        """See `Writer.close`."""


def kept(text: bytes, value: dict[str, object], places: Sequence[str]) -> bytes | None:
    """The object's text, to be written again as it is; None if an answer may replace a member."""
    for place in places:
        if place in value:
            return None
    return text


def encoded(record: Record, places: Sequence[str]) -> bytes:
    """The record as JSON, an unreadable one as its error and what stood there."""
    if record.unreadable is not None:
        return json_text.encode({"error": record.unreadable.as_dict(), "raw": record.raw})
    fields = record.fields
    if record.raw is None:
        return json_text.encode(fields)
    return json_text.appended(
        record.raw, {place: fields[place] for place in places if place in fields}
    )


def _unreadable(number: int, line: bytes, why: str) -> Record:
    fault = RecordFault("Unreadable record", f"line {number} {why}")
    return Record(number, {}, len(line), line.decode("utf-8", "replace"), fault)
