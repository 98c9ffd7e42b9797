"""CSV: the header is kept, and columns are appended in the order of steps and their `select`.

- Delimiter (comma, semicolon, tab, bar) and line end are taken from the header's line.
- UTF-8 with or without BOM, UTF-16 with BOM, and if it is neither, Latin-1. The answer is UTF-8, as
  what APIs answer needs it, and begins with a BOM if the request did.
- Cells stay as they are; quotes are written only where they are needed. Empty lines are skipped.
- A row with too few or too many cells is a record error and no call is made for it, as its fields
  can't be told apart. It is written as it came, cells in excess after the appended columns.
- A column that is already there is filled in place.
- Values that aren't text are written as JSON; null is an empty cell.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Generator, Sequence
from typing import BinaryIO, cast

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record

HEAD = 64 * 1024  # bytes that the dialect is judged by
MAX_CELL = 16 * 1024 * 1024  # characters: an unclosed quote must not swallow a large file
DELIMITERS = ",;\t|"

_LINE_END = re.compile(r"\r\n|\n|\r")


class TableFormat:
    """A CSV payload; implements `Format`. Opening reads it once if its encoding is in doubt."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, source: BinaryIO, columns: Sequence[Column]) -> None:
        self._source = source
        self._columns = columns
        self._encoding = _encoding(source)
        text = source.read(HEAD).decode(self._encoding, "replace")
        source.seek(0)
        end = _LINE_END.search(text)
        self._delimiter = delimiter(text[: end.start()] if end else text)
        self._line_end = end[0] if end else "\n"
        self._bom = source.read(3) == codecs.BOM_UTF8
        source.seek(0)
        self._header: list[str] = []

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        csv.field_size_limit(MAX_CELL)
        text = io.TextIOWrapper(self._source, self._encoding, newline="")
        rows = csv.reader(text, delimiter=self._delimiter)
        try:
            self._header = next(rows, [])
            line = rows.line_num
            for cells in rows:
                if cells:
                    yield self._record(line + 1, cells)
                line = rows.line_num
        except csv.Error as error:
            position = {"line": rows.line_num}
            detail = f"line {rows.line_num}: {error}"
            raise PayloadFault("Unreadable payload", detail, position=position) from None
        except UnicodeDecodeError:  # only UTF-16: the others were tried, or can't fail
            detail = f"after line {rows.line_num}: not valid {self._encoding}"
            raise PayloadFault("Unreadable payload", detail) from None
        finally:
            text.detach()  # or closing it would close the source

    def writer(self, sink: BinaryIO) -> TableWriter:
        """See `Format.writer`."""
        if self._bom:
            sink.write(codecs.BOM_UTF8)
        return TableWriter(self, sink)

    @property
    def header(self) -> list[str]:
        """The names of the columns, known when the first record is."""
        return self._header

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that the steps add."""
        return self._columns

    @property
    def dialect(self) -> tuple[str, str]:
        """Delimiter and line end."""
        return self._delimiter, self._line_end

    def _record(self, line: int, cells: list[str]) -> Record:
        size = sum(map(len, cells))
        expected = len(self._header)
        if len(cells) == expected:
            return Record(line, dict(zip(self._header, cells, strict=True)), size, cells)
        detail = f"line {line} has {len(cells)} cells, the header has {expected}"
        return Record(line, {}, size, cells, RecordFault("Unreadable record", detail))


class TableWriter:
    """Implements `Writer`. The header is written with the first record, or at the end."""

    def __init__(self, table: TableFormat, sink: BinaryIO) -> None:
        self._table = table
        delimiter, line_end = table.dialect
        # csv leaves a bare \r unquoted unless its line end holds one: so \r\n here, and then ours
        lines = _Lines(sink, line_end)
        self._csv = csv.writer(lines, delimiter=delimiter, lineterminator="\r\n")
        self._places: list[tuple[int, Column]] = []
        self._appended = 0
        self._begun = False

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        self._begin()
        self._csv.writerow(self._row(record))

    def close(self) -> None:
        """See `Writer.close`."""
        self._begin()

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        header = list(self._table.header)
        if not header:
            return
        for column in self._table.columns:
            if column.name not in header:
                header.append(column.name)
            self._places.append((header.index(column.name), column))
        self._appended = len(header) - len(self._table.header)
        self._csv.writerow(header)

    def _row(self, record: Record) -> list[str]:
        cells = cast("list[str]", record.raw)
        width = len(self._table.header)
        added = max(0, width - len(cells)) + self._appended
        row = [*cells[:width], *[""] * added, *cells[width:]]
        for place, column in self._places:
            if record.unreadable is None or column.error:
                row[place] = _cell(record, column)
        return row


class _Lines:
    """What csv.writer writes its finished lines to."""

    def __init__(self, sink: BinaryIO, line_end: str) -> None:
        self._sink = sink
        self._line_end = line_end

    def write(self, line: str) -> int:
        return self._sink.write((line[:-2] + self._line_end).encode())


def delimiter(line: str) -> str:
    """The delimiter that stands most often, outside quotes, in a header's line."""
    bare = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _encoding(source: BinaryIO) -> str:
    head = source.read(3)
    source.seek(0)
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while piece := source.read(1024 * 1024):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    finally:
        source.seek(0)
    return "utf-8-sig"


def _cell(record: Record, column: Column) -> str:
    fault = record.faults.get(column.into) or record.unreadable
    if column.error:
        return str(fault or "")
    if fault is not None:
        return ""
    value = record.fields.get(column.into)
    if column.member is not None:
        value = value.get(column.member) if isinstance(value, dict) else None
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text.encode(value).decode()
