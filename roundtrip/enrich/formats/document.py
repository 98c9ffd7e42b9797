"""JSON: an array of records, on top or at a path, or one object. The output keeps the shape.

What stands around an array at a path (`data.items`) is copied as it came. Each record's text comes
back as it was, the answers appended. Only if a member of an answer's name is there already is the
record written anew: the answer takes that member's place. Records are separated by line ends.

An element that isn't an object is a record error; annotated, it becomes
`{"error": {...}, "raw": the element}`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from typing import Any, BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record, places
from roundtrip.enrich.formats.lines import encoded, kept
from roundtrip.enrich.formats.sliding import SlidingText


class DocumentFormat:
    """A JSON payload; implements `Format`."""

    media_type = "application/json"

    def __init__(
        self, source: BinaryIO, columns: Sequence[Column], path: str | None = None
    ) -> None:
        self._text = SlidingText(source)
        self._places = places(columns)
        self._path = tuple(path.split(".")) if path else ()
        self._sink: BinaryIO | None = None
        self.array = bool(self._path) or self._text.peek() == "["

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        text = self._text
        if self._path:
            text.echo(self._copy)
        first = text.peek()
        if not first:
            raise text.fault("the payload is empty")
        if first not in "[{":
            raise text.fault("the payload is neither an array of records nor one object")
        if not self.array:
            yield self._record(1)
        else:
            self._find_array()
            text.echo(None)
            yield from self._elements()
            text.number = 0
        if not self._path and text.peek():
            raise text.fault("something follows the end of the document")

    def writer(self, sink: BinaryIO) -> DocumentWriter:
        """See `Format.writer`."""
        self._sink = sink
        return DocumentWriter(sink, self)

    @property
    def places(self) -> Sequence[str]:
        """Where the steps put their answers."""
        return self._places

    def finish(self) -> None:
        """Copy what stands behind an array at a path. Raises PayloadFault."""
        text = self._text
        if not self._path:
            self._copy("\n")
            return
        text.echo(self._copy)
        for _ in self._path:
            while text.follows("}"):
                text.key()
                text.pass_over()
        if text.peek():
            raise text.fault("something follows the end of the document")
        text.echo(None)

    def _copy(self, text: str) -> None:
        if self._sink is not None:
            self._sink.write(text.encode())

    def _find_array(self) -> None:
        """Step over all that stands before the array."""
        text = self._text
        for depth, name in enumerate(self._path):
            above = ".".join(self._path[:depth]) or "the document"
            if text.peek() != "{":
                raise text.fault(f"looking for {name!r}: {above} is not an object")
            if not (text.enter() and self._found(name)):
                raise text.fault(f"there is no member {name!r} in {above}")
        if text.peek() != "[":
            raise text.fault(f"{'.'.join(self._path)} is not an array")

    def _found(self, name: str) -> bool:
        text = self._text
        while text.key() != name:
            text.pass_over()
            if not text.follows("}"):
                return False
        return True

    def _elements(self) -> Iterator[Record]:
        text = self._text
        if not text.enter():
            return
        while True:
            text.number += 1
            yield self._record(text.number)
            if not text.follows("]"):
                return

    def _record(self, number: int) -> Record:
        value, text = self._text.value()
        size = len(text)
        if not isinstance(value, dict):
            fault = RecordFault("Unreadable record", f"record {number} is not an object")
            return Record(number, {}, size, value, fault)
        return Record(number, value, size, kept(text.encode(), value, self._places))


class DocumentWriter:
    """Implements `Writer`: a record a line within an array, or one indented object."""

    def __init__(self, sink: BinaryIO, document: DocumentFormat) -> None:
        self._sink = sink
        self._document = document
        self._count = 0

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        if record.dropped:
            return
        text = _safely_encoded(record, self._document.places)
        if self._document.array:
            self._sink.write((b",\n" if self._count else b"[\n") + text)
        else:
            self._sink.write(_laid_out(text) + b"\n")
        self._count += 1

    def close(self) -> None:
        """See `Writer.close`. A dropped lone object leaves `null`."""
        if self._document.array:
            self._sink.write(b"\n]" if self._count else b"[]")
            self._document.finish()
        elif not self._count:
            self._sink.write(b"null\n")


def _laid_out(text: bytes) -> bytes:
    try:
        return json_text.indented(text)
    except json_text.UNREADABLE:  # a lone surrogate, which stays as it came
        return text


def _safely_encoded(record: Record, places: Sequence[str]) -> bytes:
    try:
        return encoded(record, places)
    except RecursionError:
        detail = f"record {record.position} is nested too deeply to be written"
        position = {"record": record.position}
        raise PayloadFault("Unwritable record", detail, position=position) from None
    except ValueError:  # a lone surrogate, which JSON can write as \udXXX and UTF-8 can't
        return json.dumps(_surrogates_escaped(record)).encode()


def _surrogates_escaped(record: Record) -> dict[str, Any]:
    fault = RecordFault("Unwritable record", f"record {record.position} holds no valid text")
    shown = record.raw if record.unreadable else record.fields
    return {"error": fault.as_dict(), "raw": json.dumps(shown, default=str)}
