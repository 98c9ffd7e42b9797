"""What the ledger's file holds, in figures; read beside a running agent."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TypedDict

from roundtrip.enrich.store.schema import disk_bytes, open_for_reading
from roundtrip.errors import ShareError


class Step(TypedDict):
    """The cached answers of one step; bytes count what they take on disk, roughly."""

    entries: int
    bytes: int
    fresh: int
    stale: int


class Figures(TypedDict):
    """A snapshot; `steps` by `pipeline/step`."""

    file: str
    disk: int
    cache: Step
    steps: dict[str, Step]
    exchanges: int
    answers: int
    tickets: int


def figures(path: Path) -> Figures:
    """Count what is there; without a file, nothing is. Raises ShareError."""
    found = Figures(
        file=str(path), disk=0, cache=_none(), steps={}, exchanges=0, answers=0, tickets=0
    )
    if not path.exists():
        return found
    try:
        with closing(open_for_reading(path)) as connection:
            _count_cache(connection, found)
            _count_ledger(connection, found)
    except sqlite3.Error as error:
        raise ShareError(f"{path}: can't be read: {error}") from None
    found["disk"] = disk_bytes(path)
    return found


def _none() -> Step:
    return Step(entries=0, bytes=0, fresh=0, stale=0)


def _count_cache(connection: sqlite3.Connection, found: Figures) -> None:
    rows = connection.execute(
        "SELECT step, count(*), sum(size), sum(until > ?) FROM cache GROUP BY step ORDER BY step",
        (time.time(),),
    )
    total = found["cache"]
    for name, entries, size, fresh in rows:
        step = Step(entries=entries, bytes=size, fresh=fresh, stale=entries - fresh)
        found["steps"][name] = step
        total["entries"] += entries
        total["bytes"] += size
        total["fresh"] += fresh
        total["stale"] += entries - fresh


def _count_ledger(connection: sqlite3.Connection, found: Figures) -> None:
    """Forgotten scopes don't count, even if their answers are not deleted yet."""

    def count(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    there = "WHERE scope IN (SELECT id FROM scopes WHERE name IS NOT NULL)"
    found["exchanges"] = count("SELECT count(*) FROM scopes WHERE name IS NOT NULL")
    found["answers"] = count(f"SELECT count(*) FROM answers {there}")
    found["tickets"] = count(f"SELECT count(*) FROM tickets {there}")
