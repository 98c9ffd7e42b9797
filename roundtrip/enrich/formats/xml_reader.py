"""XML read a piece at a time: each record with its bytes, and the bytes between records.

The parser is expat: it tells at which byte of the payload each tag stands, so that all which isn't
ours can be copied instead of written anew (lxml would declare the namespaces again in each record,
and forget CDATA, quotes and character references). It never opens another file. A DOCTYPE with
declarations of its own is refused before any of them is read, as entities are declared there;
entities that an outer DTD may declare are not known, so a record with one is a record error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import MAX_RECORD
from roundtrip.enrich.formats.xml_fields import Fields, local
from roundtrip.enrich.formats.xml_parts import Found, Stretch

CHUNK = 64 * 1024  # bytes
LARGE_CHUNK = 4 * CHUNK  # while one tag or comment is larger than a chunk
KEPT = 1024 * 1024  # bytes between two records; more are read a second time when they are written
MAX_TOKEN = 16 * 1024 * 1024  # bytes of one tag, comment or processing instruction
MAX_DEPTH = 256
MAX_NAMES = 1024 * 1024  # characters of all different names together, as the parser keeps them

_WIDE = {
    b"\xff\xfe": "utf-16-le",
    b"<\0": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"\0<": "utf-16-be",
}
_REFERENCE = re.compile(
    r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|<\?.*?\?>|&(?!#|(?:amp|lt|gt|quot|apos);)(.*?;)", re.DOTALL
)


class XmlReader:
    """Finds the records of a payload."""

    def __init__(self, source: BinaryIO, record: str | None, yielding: frozenset[str]) -> None:
        """`yielding`: local names of children whose place in the record is needed."""
        self.encoding = "utf-8"
        self.wide = False  # whether a character takes two bytes
        self.rest = Stretch()  # what follows the last record, once all was read
        self._source = source
        self._way = tuple(record.strip("/").split("/")) if record else ()
        self._only = ""  # the name of the root's children
        self._yielding = yielding
        self._names: dict[Any, Any] = {}  # all that the parser came across (and None)
        self._names_seen = 0
        self._parser = expat.ParserCreate(intern=self._names)
        self._path: list[str] = []
        self._fields = Fields("", {})
        self._buffer, self._base = bytearray(), 0  # what is held of the payload, and from where
        self._gap = 0  # where the stretch before the next record begins
        self._begun: int | None = None  # where the open record begins
        self._first_child = 0
        self._children: list[tuple[str, int, int]] = []
        self._child = 0
        self._number = 0
        self._doctype = False
        self._found: list[Found] = []

    def records(self) -> Iterator[Found]:
        """The records in order. Raises PayloadFault."""
        self._prepare()
        known, size = 0, CHUNK
        while piece := self._source.read(size):
            self._feed(piece)
            yield from self._found
            self._found.clear()
            known = max(known, self._parser.CurrentByteIndex)
            pending = self._base + len(self._buffer) - known
            self._let_go(known, pending)
            size = CHUNK if pending < CHUNK else LARGE_CHUNK
        self._feed(b"")
        self.rest = self._stretch(self._base + len(self._buffer))

    def fault(self, why: str) -> PayloadFault:
        """The error that says where the parser stands."""
        parser = self._parser
        return self._fault(why, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)

    def _fault(self, why: str, line: int, column: int) -> PayloadFault:
        position = {"line": line, "column": column}
        detail = f"line {line} column {column}: {why}"
        if self._begun is not None:
            position["record"] = self._number
            detail = f"record {self._number}, {detail}"
        return PayloadFault("Unreadable payload", detail, position=position)

    def _prepare(self) -> None:
        start = self._source.read(2)
        self._source.seek(0)
        self.wide = start in _WIDE
        self.encoding = _WIDE.get(start, "utf-8")
        parser = self._parser
        parser.buffer_text = True
        parser.buffer_size = CHUNK
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = self._doctyped
        self._outside()

    def _outside(self) -> None:
        parser = self._parser
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = None

    def _feed(self, piece: bytes) -> None:
        self._buffer += piece
        try:
            self._parser.Parse(piece, not piece)
        except expat.ExpatError as error:
            why = expat.ErrorString(error.code) or "not well-formed"
            raise self._fault(why, error.lineno, error.offset + 1) from None
        except (LookupError, ValueError):
            if self._path:
                raise  # a defect of ours; the encoding is settled before the first element
            raise self.fault("the encoding can't be read; UTF-8 can") from None

    def _let_go(self, known: int, pending: int) -> None:
        """Forget the bytes that nobody needs; refuse what would need too much memory."""
        if pending > MAX_TOKEN:
            raise self.fault(f"a tag or comment is longer than {MAX_TOKEN} bytes")
        if len(self._names) > self._names_seen:
            self._names_seen = len(self._names)
            if sum(len(name or "") for name in self._names) > MAX_NAMES:
                raise self.fault("too many different names of elements and attributes")
        total = self._base + len(self._buffer)
        keep = self._gap
        if self._begun is not None:
            keep = self._begun
            if total - keep > MAX_RECORD:
                raise self.fault(f"the record is longer than {MAX_RECORD} bytes")
        elif total - keep > KEPT:
            keep = max(keep, known)
        if keep > self._base:
            del self._buffer[: keep - self._base]
            self._base = keep

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and not self.wide:
            if "</>".encode(encoding) != b"</>":  # we look for tags in bytes, as the parser does
                raise LookupError
            self.encoding = encoding

    def _doctyped(self, name: str, system: str | None, public: str | None, inner: bool) -> None:
        if inner:
            why = "the DOCTYPE has declarations of its own (entities, say), which are never read"
            raise self.fault(why)
        self._doctype = True

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(name)
        if len(path) > MAX_DEPTH:
            raise self.fault(f"elements are nested more than {MAX_DEPTH} deep")
        if not self._is_record(name):
            return
        self._number += 1
        self._begun = self._parser.CurrentByteIndex
        self._first_child = 0
        self._children = []
        self._fields = Fields(name, attributes)
        parser = self._parser
        parser.StartElementHandler = self._start_inside
        parser.EndElementHandler = self._end_inside
        parser.CharacterDataHandler = self._fields.text

    def _end(self, name: str) -> None:
        self._path.pop()

    def _is_record(self, name: str) -> bool:
        path, way = self._path, self._way
        if way:
            return len(path) >= len(way) and all(
                wanted in (name, local(name))
                for name, wanted in zip(path[-len(way) :], way, strict=True)
            )
        if len(path) != 2:
            return False
        if name != (self._only or name):
            why = f"the root holds both {self._only!r} and {name!r}: xml_record must say which"
            raise self.fault(why)
        self._only = name
        return True

    def _start_inside(self, name: str, attributes: dict[str, str]) -> None:
        fields = self._fields
        depth = len(fields.open)
        if depth == 1 and (not self._first_child or local(name) in self._yielding):
            self._child = self._parser.CurrentByteIndex - (self._begun or 0)
            self._first_child = self._first_child or self._child
        elif depth + len(self._path) > MAX_DEPTH:
            raise self.fault(f"elements are nested more than {MAX_DEPTH} deep")
        fields.start(name, attributes)

    def _end_inside(self, name: str) -> None:
        fields = self._fields
        if len(fields.open) == 2 and local(name) in self._yielding:
            end = self._behind(fields.bare) - (self._begun or 0)
            self._children.append((local(name), self._child, end))
        found = fields.end()
        if found is not None:
            self._record_ended(name, found)

    def _record_ended(self, name: str, fields: dict[str, Any]) -> None:
        begin = self._begun or 0
        here = self._parser.CurrentByteIndex - begin
        bare = not self._first_child and not self._fields.text_seen
        end = self._behind(bare)
        text = bytes(self._buffer[begin - self._base : end - self._base])
        record = Found(
            self._number, name, fields, self._stretch(begin), text, here, len(text) == here,
            self._first_child, self._children,
        )  # fmt: skip
        if self._doctype:
            record.unreadable = self._unresolved(text)
        self._found.append(record)
        self._begun = None
        self._gap = end
        self._path.pop()
        self._outside()

    def _behind(self, bare: bool) -> int:
        """Where the element ends whose end is reported; expat says where its end tag begins.

        Of `<a/>` that is its end already, and only an element without content is written so.
        """
        here = self._parser.CurrentByteIndex
        at = here - self._base
        slash, close = "/>".encode(self.encoding), ">".encode(self.encoding)
        if bare and self._buffer.endswith(slash, 0, at):
            return here
        width = len(close)
        found = self._buffer.find(close, at)
        while (found - at) % width:
            found = self._buffer.find(close, found + 1)
        return self._base + found + width

    def _stretch(self, end: int) -> Stretch:
        if self._gap >= self._base:
            return Stretch(bytes(self._buffer[self._gap - self._base : end - self._base]))
        return Stretch(b"", self._gap, end)

    def _unresolved(self, text: bytes) -> RecordFault | None:
        for found in _REFERENCE.finditer(text.decode(self.encoding, "replace")):
            if found[1]:
                detail = f"record {self._number} holds the entity &{found[1]} which is not declared"
                return RecordFault("Unreadable record", detail)
        return None
