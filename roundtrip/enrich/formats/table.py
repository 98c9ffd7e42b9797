"""CSV and TSV: columns are appended in the order of steps and their `select`.

- Delimiter (comma, semicolon, tab, bar) and line end are taken from the first line. A TSV has tabs,
  and otherwise the same rules: a cell with a tab, a line end or a quote in it stands in quotes.
- UTF-8 with or without BOM, UTF-16 with BOM, and if it is neither, Latin-1; or what is given. The
  answer is UTF-8, as what APIs answer needs it, and begins with a BOM if a UTF-8 request did.
- Cells stay as they are; quotes are written only where they are needed. Empty lines are skipped.
- A row with too few or too many cells is a record error and no call is made for it, as its fields
  can't be told apart. It is written as it came, cells in excess after the appended columns.
- A column that is already there is filled in place, unless the step was skipped.
- Values that aren't text are written as JSON; null is an empty cell.
- Columns named in the settings mean that the table has no header, and then it gets none.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Generator, Sequence
from typing import BinaryIO, cast

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record
from roundtrip.enrich.formats.dialect import dialect
from roundtrip.enrich.settings import Csv

MAX_CELL = 16 * 1024 * 1024  # characters: an unclosed quote must not swallow a large file


class TableFormat:
    """A CSV or TSV payload; implements `Format`. Opening reads it if its encoding is in doubt."""

    def __init__(
        self, source: BinaryIO, columns: Sequence[Column], given: Csv, *, tabs: bool
    ) -> None:
        self.columns = columns
        self.dialect = dialect(source, given, tabs=tabs)
        self.header = list(given.header)  # if not given, known when the first record is
        self.headless = bool(given.header)
        self.media_type = f"text/{'tab-separated-values' if tabs else 'csv'}; charset=utf-8"
        self._source = source

    def records(self) -> Generator[Record, None, None]:
        """See `Format.records`."""
        csv.field_size_limit(MAX_CELL)
        encoding = self.dialect.encoding
        text = io.TextIOWrapper(self._source, encoding, newline="")
        rows = csv.reader(text, delimiter=self.dialect.delimiter, quotechar=self.dialect.quote)
        try:
            if not self.headless:
                self.header = next(filter(None, rows), [])
            line = rows.line_num
            for cells in rows:
                if cells:
                    yield self._record(line + 1, cells)
                line = rows.line_num
        except csv.Error as error:
            position = {"line": rows.line_num}
            detail = f"line {rows.line_num}: {error}"
            raise PayloadFault("Unreadable payload", detail, position=position) from None
        except UnicodeError:  # UTF-16 or a given encoding: the others were tried, or can't fail
            detail = f"after line {rows.line_num}: not valid {encoding}"
            raise PayloadFault("Unreadable payload", detail) from None
        finally:
            text.detach()  # or closing it would close the source

    def writer(self, sink: BinaryIO) -> TableWriter:
        """See `Format.writer`."""
        if self.dialect.bom:
            sink.write(codecs.BOM_UTF8)
        return TableWriter(self, sink)

    def _record(self, line: int, cells: list[str]) -> Record:
        size = sum(map(len, cells))
        header = self.header
        if len(cells) == len(header):
            return Record(line, dict(zip(header, cells, strict=True)), size, cells)
        named = "pipeline names" if self.headless else "header has"
        detail = f"line {line} has {len(cells)} cells, the {named} {len(header)}"
        return Record(line, {}, size, cells, RecordFault("Unreadable record", detail))


class TableWriter:
    """Implements `Writer`. The header is written with the first record, or at the end."""

    def __init__(self, table: TableFormat, sink: BinaryIO) -> None:
        self._table = table
        dialect = table.dialect
        # csv leaves a bare \r unquoted unless its line end holds one: so \r\n here, and then ours
        self._csv = csv.writer(
            _Lines(sink, dialect.line_end),
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            lineterminator="\r\n",
        )
        self._places: list[tuple[int, Column]] = []
        self._origins: dict[str, int] = {}
        self._width = 0
        self._appended = 0
        self._begun = False

    def write(self, record: Record) -> None:
        """See `Writer.write`."""
        if record.dropped:
            return
        self._begin()
        try:
            self._csv.writerow(self._row(record))
        except UnicodeEncodeError:  # a given encoding (UTF-7, say) can hold lone surrogates
            detail = f"line {record.position} holds no valid text"
            raise PayloadFault("Unwritable record", detail) from None

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
        self._width = len(header)
        columns = self._table.columns
        self._origins = {c.into: header.index(c.into) for c in columns if c.into in header}
        for column in columns:
            if column.name not in header:
                header.append(column.name)
            self._places.append((header.index(column.name), column))
        self._appended = len(header) - self._width
        if not self._table.headless:
            self._csv.writerow(header)

    def _row(self, record: Record) -> list[str]:
        cells = cast("list[str]", record.raw)
        width = self._width
        added = max(0, width - len(cells)) + self._appended
        row = [*cells[:width], *[""] * added, *cells[width:]]
        for place, column in self._places:
            if record.unreadable is not None:
                if column.error:
                    row[place] = str(record.unreadable)
            elif self._answered(record, column.into):
                row[place] = _cell(record, column)
        return row

    def _answered(self, record: Record, into: str) -> bool:
        """Whether the step ran: what stands at `into` is its answer, and not the record's own."""
        if into in record.faults:
            return True
        if into not in record.fields:
            return False
        origin = self._origins.get(into)
        return origin is None or record.fields[into] is not record.raw[origin]


class _Lines:
    """What csv.writer writes its finished lines to."""

    def __init__(self, sink: BinaryIO, line_end: str) -> None:
        self._sink = sink
        self._line_end = line_end

    def write(self, line: str) -> int:
        return self._sink.write((line[:-2] + self._line_end).encode())


def _cell(record: Record, column: Column) -> str:
    fault = record.faults.get(column.into)
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
