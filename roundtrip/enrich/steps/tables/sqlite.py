"""A table of an SQLite database, opened for reading; what others write to it is seen at once."""

from __future__ import annotations

import sqlite3
from base64 import b64encode
from contextlib import closing
from typing import Any
from urllib.parse import quote

from roundtrip.enrich.settings import LookupSettings
from roundtrip.enrich.steps.tables import Busy, broken

FEW = 10_000  # rows that may be searched without an index: below a millisecond


class SqliteTable:
    """Implements `Table`."""

    def __init__(self, settings: LookupSettings) -> None:
        """Raises BrokenTable and sqlite3.Error."""
        assert settings.table and settings.column  # checked
        self._settings = settings
        table, column = _quoted(settings.table), _quoted(settings.column)
        self._query = f"SELECT * FROM {table} WHERE {column} = ? LIMIT 1"
        uri = f"file:{quote(settings.file)}?mode=ro"
        # opened in a thread, used on the loop: one after the other. No waiting: Busy says so
        self._database = sqlite3.connect(uri, uri=True, timeout=0, check_same_thread=False)
        try:
            self._check(settings.table, settings.column)
        except BaseException:
            self._database.close()
            raise

    def get(self, key: str) -> object:
        """See `Table.get`."""
        try:
            with closing(self._database.execute(self._query, (key,))) as cursor:
                row = cursor.fetchone()
                if row is None:
                    return None
                names = [name for name, *_ in cursor.description]
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
                raise Busy from None
            raise broken(self._settings, str(error)) from None
        return {name: _plain(value) for name, value in zip(names, row, strict=True)}

    def close(self) -> None:
        """See `Table.close`."""
        self._database.close()

    def _check(self, table: str, column: str) -> None:
        # an unknown name in double quotes would be a text for SQLite, and match nothing
        found = self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))
        names = [name for (name,) in found]
        if not names:
            raise broken(self._settings, f"it has no table {table!r}")
        if column not in names:
            there = ", ".join(names)
            raise broken(self._settings, f"{table!r} has no column {column!r}; there are: {there}")
        plan = self._database.execute(f"EXPLAIN QUERY PLAN {self._query}", ("",)).fetchall()
        if any(step[3].startswith("SCAN") for step in plan) and self._is_long(table):
            index = f"CREATE INDEX by_{column} ON {table} ({column})"
            detail = f"{table!r} has no index on {column!r} and is too long without one: {index}"
            raise broken(self._settings, detail)

    def _is_long(self, table: str) -> bool:
        query = f"SELECT 1 FROM {_quoted(table)} LIMIT 1 OFFSET {FEW}"
        return self._database.execute(query).fetchone() is not None


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value
