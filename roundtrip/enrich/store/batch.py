"""`Batch`: writes that go to the disk in one transaction, and are readable until they are there."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass, field
from typing import NamedTuple

from roundtrip.enrich.store.bulk import insert

MAX_BYTES = 8 * 1024 * 1024
MAX_ROWS = 10_000
_ROW = 200  # bytes that memory spends on a row besides its value, roughly


class CacheRow(NamedTuple):
    """A row of the table `cache`; times are Unix times, `size` is in bytes."""

    key: bytes
    step: str
    made: float
    until: float
    gone: float
    size: int
    etag: str | None
    answer: bytes


@dataclass(eq=False)
class Batch:
    """The last write for each key; the order among different keys doesn't matter.

    None as a value means: to be removed. A scope without name is a forgotten one.
    """

    scopes: dict[int, str | None] = field(default_factory=dict)
    answers: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    tickets: dict[tuple[int, bytes], bytes | None] = field(default_factory=dict)
    cache: dict[bytes, CacheRow] = field(default_factory=dict)
    counters: dict[tuple[str, str], int | None] = field(default_factory=dict)
    rows: int = 0
    size: int = 0  # bytes
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def grew(self, size: int) -> None:
        """Count a row that was put in, of so many bytes."""
        self.rows += 1
        self.size += size + _ROW

    @property
    def full(self) -> bool:
        """Whether it is as large as memory should hold."""
        return self.rows > MAX_ROWS or self.size > MAX_BYTES

    def write(self, connection: sqlite3.Connection) -> None:
        """Write everything but `cache`, inside a transaction."""
        insert(connection, "scopes", ("id", "name"), self.scopes.items(), replace=True)
        answers = ((scope, key, answer) for (scope, key), answer in self.answers.items())
        insert(connection, "answers", ("scope", "key", "answer"), answers)
        self._write(connection, "tickets", self.tickets)
        self._write(connection, "counters", self.counters)

    @staticmethod
    def _write(
        connection: sqlite3.Connection,
        table: str,
        rows: dict[tuple[int, bytes], bytes | None] | dict[tuple[str, str], int | None],
    ) -> None:
        names = _COLUMNS[table]
        kept = [(*key, value) for key, value in rows.items() if value is not None]
        gone = [key for key, value in rows.items() if value is None]
        insert(connection, table, names, kept, replace=True)
        if gone:
            where = f"{names[0]} = ? AND {names[1]} = ?"
            connection.executemany(f"DELETE FROM {table} WHERE {where}", gone)


_COLUMNS = {"tickets": ("scope", "key", "ticket"), "counters": ("counter", "period", "spent")}
