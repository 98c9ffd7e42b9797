"""`Shelf`: the table of cached answers, kept within its space and freed of what is of no use."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from roundtrip.enrich.store.batch import CacheRow
from roundtrip.enrich.store.bulk import insert

SLICE = 500  # rows that one transaction removes, so that none takes long


class Shelf:
    """Used by the writing thread only, inside its transactions; the oldest answers go first.

    The oldest, not the least recently used: a look-up then writes nothing, and what is put again
    after its time counts as new. `bytes` is what they take now; whoever rolls back sets it back.
    """

    def __init__(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self.bytes = self._sum()

    def put(self, rows: Iterable[CacheRow]) -> None:
        """Add rows, instead of those with the same keys."""
        rows = list(rows)
        for start in range(0, len(rows), SLICE):
            self._replace([row.key for row in rows[start : start + SLICE]])
        insert(self._connection, "cache", CacheRow._fields, rows)
        self.bytes += sum(row.size for row in rows)

    def make_room(self, rows: int) -> bool:
        """Remove the oldest until all fit, at most so many; whether there is more to do."""
        while rows > 0 and self.bytes > self._max_bytes:
            found = self._rows("SELECT id, size FROM cache ORDER BY id LIMIT ?", (SLICE,))
            if not found:
                return False
            excess, doomed = self.bytes - self._max_bytes, []
            for row in found:
                doomed.append(row)
                excess -= row[1]
                if excess <= 0:
                    break
            self.remove(doomed)
            rows -= len(doomed)
        return self.bytes > self._max_bytes

    def drop_expired(self, now: float) -> bool:
        """Remove some rows that are of no use any more; whether there may be more."""
        found = self._rows("SELECT id, size FROM cache WHERE gone <= ? LIMIT ?", (now, SLICE))
        self.remove(found)
        return len(found) == SLICE

    def remove(self, rows: list[tuple[int, int]]) -> None:
        """Remove rows by (id, size)."""
        if rows:
            marks = ", ".join("?" * len(rows))
            doomed = [row for row, _ in rows]
            self._connection.execute(f"DELETE FROM cache WHERE id IN ({marks})", doomed)
        self.bytes -= sum(size for _, size in rows)

    def _replace(self, keys: list[bytes]) -> None:
        marks = ", ".join("?" * len(keys))
        self.remove(self._rows(f"SELECT id, size FROM cache WHERE key IN ({marks})", tuple(keys)))

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[int, int]]:
        return self._connection.execute(query, values).fetchall()

    def _sum(self) -> int:
        found = self._connection.execute("SELECT coalesce(sum(size), 0) FROM cache").fetchone()
        return int(found[0])
