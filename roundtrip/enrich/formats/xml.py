"""XML: a repeated element is the record; all else is copied as it came, byte for byte.

Answers become elements at the end of their record, before its end tag. Child elements of the same
name that are there already give way to them. The encoding stays; what it can't hold is written as a
character reference.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import BinaryIO

from roundtrip.enrich.formats import Column, Record, places
from roundtrip.enrich.formats.xml_answers import element, element_name
from roundtrip.enrich.formats.xml_parts import Found, Stretch
from roundtrip.enrich.formats.xml_reader import XmlReader

COPY = 1024 * 1024  # bytes copied at once
SPACE = b" \t\r\n"


class XmlFormat:
    """An XML payload; implements `Format`."""

    media_type = "application/xml"

    def __init__(
        self, source: BinaryIO, columns: Sequence[Column], record: str | None = None
    ) -> None:
        """`record`: the repeated element's name, or the end of the way to it (`orders/order`)."""
        self._places = places(columns)
        self._reader = XmlReader(source, record, frozenset(map(element_name, self._places)))
        self._source = source

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        places = self._places
        for found in self._reader.records():
            fields = found.fields
            found.held = {place: fields[place] for place in places if place in fields}
            size = len(found.text) + len(found.before.text)
            yield Record(found.number, fields, size, found, found.unreadable)

    def writer(self, sink: BinaryIO) -> XmlWriter:
        """See `Format.writer`."""
        return XmlWriter(sink, self._source, self._reader, self._places)


class XmlWriter:
    """Implements `Writer`."""

    def __init__(
        self, sink: BinaryIO, source: BinaryIO, reader: XmlReader, places: Sequence[str]
    ) -> None:
        self._sink = sink
        self._source = source
        self._reader = reader
        self._places = places

    def write(self, record: Record) -> None:
        """See `Writer.write`. With a dropped record goes the white space before it."""
        found: Found = record.raw
        if record.dropped:
            self._copy(found.before, bare=True)
            return
        self._copy(found.before)
        answers = self._answers(record, found)
        self._sink.write(self._enriched(found, answers) if answers else found.text)

    def close(self) -> None:
        """See `Writer.close`."""
        self._copy(self._reader.rest)

    def _copy(self, stretch: Stretch, *, bare: bool = False) -> None:
        """Write what stood between records; a long stretch is read again, as it wasn't kept."""
        text = stretch.text
        if text:
            self._sink.write(text.rstrip(SPACE) if bare and not self._reader.wide else text)
        elif stretch.begin < stretch.end:
            here = self._source.tell()
            self._source.seek(stretch.begin)
            left = stretch.end - stretch.begin
            while left and (piece := self._source.read(min(COPY, left))):
                self._sink.write(piece)
                left -= len(piece)
            self._source.seek(here)

    def _answers(self, record: Record, found: Found) -> list[tuple[str, object]]:
        """What the steps put into the record; a skipped step leaves what the record held."""
        if record.unreadable is not None:
            return [("error", record.unreadable.as_dict())]
        fields, held = record.fields, found.held
        return [
            (place, fields[place])
            for place in self._places
            if place in fields and fields[place] is not held.get(place, self)
        ]

    def _enriched(self, found: Found, answers: Sequence[tuple[str, object]]) -> bytes:
        encoding = self._reader.encoding
        body, end = _opened(found, encoding)
        written = {element_name(name) for name, _ in answers}
        for begin, stop in reversed([(b, s) for name, b, s in found.children if name in written]):
            body = self._bare(body[:begin]) + body[stop:]
        indent = b""
        if found.first_child and not self._reader.wide:
            start = body[: found.first_child]
            indent = start[len(start.rstrip(SPACE)) :]
            inner = self._bare(body)
            body, end = inner, body[len(inner) :] + end
        texts = [indent + element(name, value, encoding) for name, value in answers]
        return b"".join([body, *texts, end])

    def _bare(self, body: bytes) -> bytes:
        """Without the white space behind the last element, so that the layout stays."""
        bare = body if self._reader.wide else body.rstrip(SPACE)
        return bare if bare.endswith(b">") else body


def _opened(found: Found, encoding: str) -> tuple[bytes, bytes]:
    """The record up to where answers go, and its end tag; `<a/>` is opened for them."""
    if not found.empty:
        return found.text[: found.end_tag], found.text[found.end_tag :]
    slash = len("/>".encode(encoding))
    return (
        found.text[:-slash] + ">".encode(encoding),
        f"</{found.name}>".encode(encoding),
    )
