"""`Desk`: what the writing thread does with its connection: one short transaction at a time."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from roundtrip.enrich.store.batch import Batch
from roundtrip.enrich.store.schema import open_for_writing, unusable
from roundtrip.enrich.store.shelf import SLICE, Shelf
from roundtrip.enrich.store.wishes import Wish
from roundtrip.errors import ShareError

_PAGES = 256  # given back to the file system at once
_SPARE = 4096  # free pages (16 MiB) that the file keeps for what comes next


class Desk:
    """All methods belong to one thread; sqlite3.Error means that nothing of the call was done."""

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        """Raises ShareError when the file can't be used."""
        self._clock = clock
        self.connection = open_for_writing(path)
        try:
            self._shelf = Shelf(self.connection, max_bytes)
        except sqlite3.Error as error:
            self.connection.close()
            raise unusable(path, error) from None

    def commit(self, batch: Batch) -> None:
        """Write a batch; on disk when this returns."""
        with self._transaction():
            batch.write(self.connection)
            if batch.cache:
                self._shelf.put(batch.cache.values())
                self._shelf.make_room(len(batch.cache) + SLICE)

    def tidy(self) -> bool:
        """Do a bit of what can wait; whether there is more."""
        with self._transaction():
            more = self._bury()
            more |= self._shelf.make_room(SLICE)
            more |= self._shelf.drop_expired(self._clock())
        return more or self._give_back()

    def purge(self, wish: Wish, after: int) -> tuple[int, int | None]:
        """Look at some cached answers beyond row `after`; how many went, and where to go on."""
        query = "SELECT id, size, step, made FROM cache WHERE id > ? ORDER BY id LIMIT ?"
        with self._transaction():
            found = self.connection.execute(query, (after, SLICE)).fetchall()
            doomed = [
                (row, size)
                for row, size, step, made in found
                if wish.step in (None, step) and (wish.before is None or made < wish.before)
            ]
            self._shelf.remove(doomed)
        return len(doomed), found[-1][0] if len(found) == SLICE else None

    def close(self) -> None:
        """Close the connection; the log is emptied into the file."""
        self.connection.close()

    def _bury(self) -> bool:
        """Delete some of what forgotten scopes have left."""
        budget = SLICE
        for (scope,) in self.connection.execute(
            "SELECT id FROM scopes WHERE name IS NULL LIMIT ?", (SLICE,)
        ).fetchall():
            budget -= self.connection.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE scope = ? LIMIT ?)",
                (scope, budget),
            ).rowcount
            if budget <= 0:
                return True
            self.connection.execute("DELETE FROM tickets WHERE scope = ?", (scope,))
            self.connection.execute("DELETE FROM scopes WHERE id = ?", (scope,))
            budget -= 1
        return budget <= 0

    def _give_back(self) -> bool:
        """Return some free pages to the file system, if there are many."""
        spare = self.connection.execute("PRAGMA freelist_count").fetchone()[0] - _SPARE
        if spare <= 0:
            return False
        # `execute` would give back one page: it stops at a statement's first step without columns.
        self.connection.executescript(f"PRAGMA incremental_vacuum({min(spare, _PAGES)})")
        return bool(spare > _PAGES)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        taken = self._shelf.bytes
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self._shelf.bytes = taken
            raise


def purged(path: Path, wish: Wish) -> int:
    """Remove the cached answers wished away, while no agent runs; returns how many went.

    Raises ShareError when the file can't be used.
    """
    removed, after = 0, 0
    try:
        with closing(Desk(path, sys.maxsize)) as desk:
            while True:
                count, following = desk.purge(wish, after)
                removed += count
                if following is None:
                    return removed
                after = following
    except sqlite3.Error as error:
        raise ShareError(f"{path}: can't be written: {error}") from None
