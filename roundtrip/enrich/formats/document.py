"""JSON: an array of records, read element by element, or one object. The output keeps the shape.

Elements are found with the standard library's scanner on a sliding text. (ijson's C parser ends
the whole process on an integer of more than 4,300 digits and turns lone surrogates into `?`; both
seen with 3.6.0.) An element that isn't an object is a record error; annotated, it becomes
`{"error": {...}, "raw": the element}`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import MAX_RECORD, Record
from roundtrip.enrich.formats.lines import encoded

CHUNK = 128 * 1024  # bytes
TOKEN = 16  # characters: a break this near the end of the text may be a token cut in two

_SPACE = re.compile(r"[ \t\r\n]*")


class DocumentFormat:
    """A JSON payload; implements `Format`."""

    media_type = "application/json"

    def __init__(self, source: BinaryIO) -> None:
        self._text = _SlidingText(source)
        self._array = self._text.peek() == "["

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        first = self._text.peek()
        if not first:
            raise self._text.fault("the payload is empty")
        if first not in "[{":
            raise self._text.fault("the payload is neither an array of records nor one object")
        yield from self._elements() if self._array else self._one()
        if self._text.peek():
            raise self._text.fault("something follows the end of the document")

    def writer(self, sink: BinaryIO) -> DocumentWriter:
        """See `Format.writer`."""
        return DocumentWriter(sink, self._array)

    def _one(self) -> Iterator[Record]:
        value, size = self._text.value()
        yield _record(1, value, size)

    def _elements(self) -> Iterator[Record]:
        text = self._text
        text.skip()
        if text.peek() == "]":
            text.skip()
            return
        while True:
            text.number += 1
            text.peek()
            yield _record(text.number, *text.value())
            mark = text.peek()
            if mark not in (",", "]"):
                raise text.fault("expected ',' or ']'" if mark else "the array has no end")
            text.skip()
            if mark == "]":
                return


class DocumentWriter:
    """Implements `Writer`: a record a line within an array, or one indented object."""

    def __init__(self, sink: BinaryIO, array: bool) -> None:
        self._sink = sink
        self._array = array
        self._count = 0

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        text = _safely_encoded(record)
        if self._array:
            self._sink.write((b",\n" if self._count else b"[\n") + text)
        else:
            self._sink.write(json_text.indented(text) + b"\n")
        self._count += 1

    def close(self) -> None:
        """See `Writer.close`. A dropped lone object leaves `null`."""
        if self._array:
            self._sink.write(b"\n]\n" if self._count else b"[]\n")
        elif not self._count:
            self._sink.write(b"null\n")


class _SlidingText:
    """The payload's text, a piece at a time; what was read is let go."""

    def __init__(self, source: BinaryIO) -> None:
        self.number = 0
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder(parse_float=json_text.exact, parse_constant=_no).raw_decode
        self._text, self._at = "", 0
        self._line, self._column = 1, 1  # of where the text begins
        self._ended = False

    def peek(self) -> str:
        """The next character that isn't white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Step over one character."""
        self._at += 1

    def value(self) -> tuple[Any, int]:
        """The value that begins here, and its length in characters."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                if not (self._cut(error) and self._more()):
                    raise self.fault(error.msg, error.pos) from None
            except RecursionError:
                raise self.fault("a value is nested too deeply") from None
            except ValueError as error:
                raise self.fault(str(error).split(";")[0]) from None
            else:
                # a number that ends with the text may go on in the next piece
                size = end - self._at
                if end < len(self._text) or not self._more():
                    self._at += size
                    return value, size

    def fault(self, why: str, at: int | None = None) -> PayloadFault:
        """The error that says where: line and column, and the record's number within an array."""
        at = self._at if at is None else at
        line, column = self._place(at)
        position = {"line": line, "column": column}
        detail = f"line {line} column {column}: {why}"
        if self.number:
            position["record"] = self.number
            detail = f"record {self.number}, {detail}"
        return PayloadFault("Unreadable payload", detail, position=position)

    def _place(self, at: int) -> tuple[int, int]:
        begin = self._text.rfind("\n", 0, at)
        if begin < 0:
            return self._line, self._column + at
        return self._line + self._text.count("\n", 0, at), at - begin

    def _cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated") or error.pos > len(self._text) - TOKEN

    def _more(self) -> bool:
        """Read on, letting go of what was consumed; False at the end."""
        if self._ended:
            return False
        rest = len(self._text) - self._at
        if rest > MAX_RECORD:
            raise self.fault(f"a record is longer than {MAX_RECORD} characters")
        piece = self._source.read(max(CHUNK, rest))  # doubling: a long record isn't read n times
        self._ended = not piece
        try:
            text = self._decoder.decode(piece, final=self._ended)
        except UnicodeDecodeError:
            raise self.fault("the text after this is not UTF-8") from None
        self._line, self._column = self._place(self._at)
        self._text = self._text[self._at :] + text
        self._at = 0
        return True


def _record(number: int, value: Any, size: int) -> Record:
    if isinstance(value, dict):
        return Record(number, value, size)
    fault = RecordFault("Unreadable record", f"record {number} is not an object")
    return Record(number, {}, size, value, fault)


def _safely_encoded(record: Record) -> bytes:
    try:
        return encoded(record)
    except RecursionError:
        detail = f"record {record.position} is nested too deeply to be written"
        position = {"record": record.position}
        raise PayloadFault("Unwritable record", detail, position=position) from None
    except ValueError:  # a lone surrogate, which JSON can write as \udXXX and UTF-8 can't
        return json.dumps(_surrogates_escaped(record)).encode()


def _surrogates_escaped(record: Record) -> dict[str, object]:
    fault = RecordFault("Unwritable record", f"record {record.position} holds no valid text")
    return {"error": fault.as_dict(), "raw": json.dumps(record.fields, default=str)}


def _no(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
