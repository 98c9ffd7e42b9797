"""The three parts of `SqliteStore`: look-ups see what is queued, else what is on disk."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roundtrip.enrich.store.batch import CacheRow
from roundtrip.enrich.store.commits import Commits, as_os_error
from roundtrip.enrich.store.port import Cached

STALE = 30 * 86400.0  # seconds that a stale answer with an entity tag is kept, to be confirmed
OVERHEAD = 150  # bytes on disk of a cached answer besides its texts: key, numbers, indices


class Rows:
    """A look into the file, and the batches on their way to it; both there once it is open."""

    commits: Commits

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: sqlite3.Connection

    def open(self, reader: sqlite3.Connection, commits: Commits) -> None:
        """Begin."""
        self._reader = reader
        self.commits = commits

    def close(self) -> None:
        """End."""
        self._reader.close()

    def one(self, query: str, *values: object) -> Any:
        """The first row that the query finds on disk, or None. Raises OSError."""
        try:
            return self._reader.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise as_os_error(self._path, error) from None

    def all(self, query: str) -> list[Any]:
        """All rows. Raises OSError."""
        try:
            return self._reader.execute(query).fetchall()
        except sqlite3.Error as error:
            raise as_os_error(self._path, error) from None


class SqliteLedger:
    """Implements `Ledger`. Scopes have numbers that are never used twice.

    So a forgotten scope is empty at once, whatever of it is still on disk, and its name is free.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._open: dict[str, int] = {}
        self._last = 0
        self._answered: set[int] = set()  # scopes that are known to hold an answer
        self._ticketed: defaultdict[bytes, set[int]] = defaultdict(set)  # scopes by ticket's key

    def load(self) -> None:
        """Read which scopes there are. Raises OSError."""
        found = self._rows.all("SELECT id, name FROM scopes")
        self._open = {name: number for number, name in found if name is not None}
        self._last = max((number for number, _ in found), default=0)
        still_open = set(self._open.values())
        for number, key in self._rows.all("SELECT scope, key FROM tickets"):
            if number in still_open:
                self._ticketed[key].add(number)

    def get(self, scope: str, key: bytes) -> bytes | None:
        """See `Ledger.get`."""
        number = self._open.get(scope)
        if number is None:
            return None
        at = (number, key)
        found = self._rows.commits.queued.answers.get(at)
        if found is None and self._rows.commits.writing is not None:
            found = self._rows.commits.writing.answers.get(at)
        if found is not None:
            return found
        row = self._rows.one(
            "SELECT answer FROM answers WHERE scope = ? AND key = ? ORDER BY id DESC LIMIT 1", *at
        )
        return row and row[0]  # type: ignore[no-any-return]

    def put(self, scope: str, key: bytes, answer: bytes) -> None:
        """See `Ledger.put`."""
        number = self._number(scope)
        self._answered.add(number)
        self._rows.commits.queued.answers[number, key] = answer
        self._rows.commits.journal.note(scope, key, answer)
        self._rows.commits.grew(len(answer))

    def ticket(self, scope: str, key: bytes) -> bytes | None:
        """See `Ledger.ticket`."""
        number = self._open.get(scope)
        return None if number is None else self._ticket(number, key)

    def tickets(self, key: bytes) -> list[bytes]:
        """See `Ledger.tickets`."""
        every = [self._ticket(number, key) for number in self._ticketed.get(key, ())]
        return [ticket for ticket in every if ticket is not None]

    def _ticket(self, number: int, key: bytes) -> bytes | None:
        at = (number, key)
        for batch in (self._rows.commits.queued, self._rows.commits.writing):
            if batch is not None and at in batch.tickets:
                return batch.tickets[at]
        row = self._rows.one("SELECT ticket FROM tickets WHERE scope = ? AND key = ?", *at)
        return row and row[0]  # type: ignore[no-any-return]

    def put_ticket(self, scope: str, key: bytes, ticket: bytes) -> None:
        """See `Ledger.put_ticket`."""
        number = self._number(scope)
        self._ticketed[key].add(number)
        self._rows.commits.queued.tickets[number, key] = ticket
        self._rows.commits.grew(len(ticket))

    def drop_ticket(self, scope: str, key: bytes) -> None:
        """See `Ledger.drop_ticket`."""
        number = self._open.get(scope)
        if number is not None:
            self._untie(number, key)
            self._rows.commits.queued.tickets[number, key] = None
            self._rows.commits.grew(0)

    def forget(self, scope: str) -> None:
        """See `Ledger.forget`; the answers are deleted later, bit by bit."""
        number = self._open.pop(scope, None)
        if number is not None:
            self._answered.discard(number)
            for key in [key for key, numbers in self._ticketed.items() if number in numbers]:
                self._untie(number, key)
            self._rows.commits.queued.scopes[number] = None
            self._rows.commits.grew(0)

    def _untie(self, number: int, key: bytes) -> None:
        self._ticketed[key].discard(number)
        if not self._ticketed[key]:
            del self._ticketed[key]

    def holds(self, scope: str) -> bool:
        """See `Ledger.holds`."""
        number = self._open.get(scope)
        if number is None:
            return False
        if number not in self._answered:
            if self._rows.one("SELECT 1 FROM answers WHERE scope = ? LIMIT 1", number) is None:
                return False
            self._answered.add(number)
        return True

    def scopes(self) -> set[str]:
        """See `Ledger.scopes`."""
        return set(self._open)

    def _number(self, scope: str) -> int:
        number = self._open.get(scope)
        if number is None:
            self._last += 1
            number = self._open[scope] = self._last
            self._rows.commits.queued.scopes[number] = scope
            self._rows.commits.grew(0)
        return number


class SqliteCache:
    """Implements `Cache`."""

    def __init__(self, rows: Rows, clock: Callable[[], float]) -> None:
        self._rows = rows
        self._clock = clock

    def get(self, key: bytes) -> Cached | None:
        """See `Cache.get`."""
        row = self._rows.commits.queued.cache.get(key)
        if row is None and self._rows.commits.writing is not None:
            row = self._rows.commits.writing.cache.get(key)
        if row is not None:
            answer, until, etag = row.answer, row.until, row.etag
        else:
            found = self._rows.one("SELECT answer, until, etag FROM cache WHERE key = ?", key)
            if found is None:
                return None
            answer, until, etag = found
        fresh = self._clock() < until
        return Cached(answer, fresh, etag) if fresh or etag else None

    def put(
        self, key: bytes, answer: bytes, ttl: float, *, step: str, etag: str | None = None
    ) -> None:
        """See `Cache.put`."""
        now = self._clock()
        gone = now + ttl + (STALE if etag else 0)
        size = OVERHEAD + len(answer) + 2 * len(step) + len(etag or "")
        self._rows.commits.queued.cache[key] = CacheRow(
            key, step, now, now + ttl, gone, size, etag, answer
        )
        self._rows.commits.grew(size)


class SqliteCounters:
    """Implements `Counters`; the sums are in memory, too."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._spent: dict[tuple[str, str], int] = {}

    def load(self) -> None:
        """Read the sums. Raises OSError."""
        rows = self._rows.all("SELECT counter, period, spent FROM counters")
        self._spent = {(counter, period): spent for counter, period, spent in rows}

    def spent(self, counter: str, window: str) -> int:
        """See `Counters.spent`."""
        return self._spent.get((counter, window), 0)

    async def reserve(self, counter: str, window: str, calls: int) -> int:
        """See `Counters.reserve`."""
        at = (counter, window)
        if at not in self._spent:
            self._forget_before(counter, window)
        spent = self._spent[at] = self._spent.get(at, 0) + calls
        self._rows.commits.queued.counters[at] = spent
        self._rows.commits.grew(0)
        await self._rows.commits.durable()
        return spent

    def _forget_before(self, counter: str, window: str) -> None:
        """Earlier windows only: a clock that was set back must not make a quota anew."""
        for other in [at for at in self._spent if at[0] == counter]:
            if len(other[1]) == len(window) and other[1] < window:
                del self._spent[other]
                self._rows.commits.queued.counters[other] = None
                self._rows.commits.grew(0)
