"""A CSV or TSV file as a table: small ones in memory, large ones in an index on disk.

Encoding and delimiter are detected as those of payloads are. Cells are texts. A row that is too
short gets empty cells. Of rows with the same key, the first one counts.
"""

from __future__ import annotations

import csv
import io
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol, cast

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault
from roundtrip.enrich.formats.dialect import dialect
from roundtrip.enrich.formats.table import MAX_CELL
from roundtrip.enrich.settings import Csv, LookupSettings
from roundtrip.enrich.steps.tables import broken

SMALL = 16 * 1024 * 1024  # bytes of a file whose rows are kept in memory
CACHE = 16 * 1024  # KiB of the index that SQLite may keep in memory
SHOWN = 10  # columns named when the one that is looked for is not there

Rows = Iterator[tuple[str, bytes]]  # key, cells


class Index(Protocol):
    """Finds a row's cells (JSON) by its key."""

    def get(self, key: str, /) -> bytes | None:
        """The cells of the first row with the key."""


class DelimitedTable:
    """Implements `Table`."""

    def __init__(self, settings: LookupSettings, *, tabs: bool) -> None:
        """Reads the whole file. Raises BrokenTable and OSError."""
        csv.field_size_limit(MAX_CELL)  # the process's; payloads need the same
        with open(settings.file, "rb") as source:
            try:
                found = dialect(source, Csv(), tabs=tabs)
                text = io.TextIOWrapper(cast("BinaryIO", source), found.encoding, newline="")
                reader = csv.reader(text, delimiter=found.delimiter)
                self._header = next(reader, [])
                rows = _rows(reader, _place(settings, self._header), len(self._header))
                in_memory = os.fstat(source.fileno()).st_size <= SMALL
                self._index: Index = _memory(rows) if in_memory else _DiskIndex(rows)
            except (csv.Error, UnicodeError) as error:
                raise broken(settings, f"line {reader.line_num}: {error}") from None
            except PayloadFault as fault:
                raise broken(settings, fault.detail) from None

    def get(self, key: str) -> object:
        """See `Table.get`."""
        cells = self._index.get(key)
        if cells is None:
            return None
        return dict(zip(self._header, cast("list[str]", json_text.decode(cells)), strict=True))

    def close(self) -> None:
        """See `Table.close`."""
        if isinstance(self._index, _DiskIndex):
            self._index.close()


class _DiskIndex:
    """An SQLite database without a name: its file goes when it is closed, or its process ends."""

    def __init__(self, rows: Rows) -> None:
        # made in a thread, used on the loop: one after the other
        database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = OFF")
            database.execute(f"PRAGMA cache_size = -{CACHE}")
            database.execute("CREATE TABLE rows (key TEXT, cells BLOB)")
            database.execute("BEGIN")
            database.executemany("INSERT INTO rows VALUES (?, ?)", rows)
            # afterwards: sorting once is much quicker than a place for each row
            database.execute("CREATE INDEX by_key ON rows (key)")
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        self._database = database

    def get(self, key: str) -> bytes | None:
        query = "SELECT cells FROM rows WHERE key = ? ORDER BY rowid LIMIT 1"
        found = self._database.execute(query, (key,)).fetchone()
        return None if found is None else cast("bytes", found[0])

    def close(self) -> None:
        self._database.close()


def _place(settings: LookupSettings, header: Sequence[str]) -> int:
    if not header:
        raise broken(settings, "it is empty")
    if settings.column is None:
        return 0
    if settings.column in header:
        return header.index(settings.column)
    names = ", ".join(header[:SHOWN]) + (", ..." if len(header) > SHOWN else "")
    raise broken(settings, f"it has no column {settings.column!r}; there are: {names}")


def _rows(reader: Iterable[list[str]], place: int, width: int) -> Rows:
    for cells in reader:
        if len(cells) > place:
            whole = cells if len(cells) == width else (cells + [""] * width)[:width]
            yield whole[place], json_text.encode(whole)


def _memory(rows: Rows) -> Index:
    found: dict[str, bytes] = {}
    for key, cells in rows:
        found.setdefault(key, cells)
    return found
