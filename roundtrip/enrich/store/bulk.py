"""Many rows in one statement: SQLite's own loop instead of Python's.

`executemany` gives up the interpreter and asks for it again at each row. Beside a busy event loop
each of these hand-overs may wait for milliseconds, so a batch would take seconds (measured: 50
writes a second instead of thousands). Here a batch is one hand-over: the rows travel as one JSON
text of numbers and texts, and one blob that holds all their blobs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache


def insert(
    connection: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    replace: bool = False,
) -> None:
    """Insert rows; a value is bytes, text, a number or None, and a column's are all bytes or none.

    `replace`: instead of rows with the same primary key.
    """
    layout: list[list[object]] = []
    blobs = [b"\0"]  # never empty: SQLite would take that for NULL
    end = 2  # it counts from 1
    kinds: tuple[bool, ...] = ()
    for row in rows:
        line: list[object] = []
        for value in row:
            if isinstance(value, bytes):
                line += (end, len(value))
                blobs.append(value)
                end += len(value)
            else:
                line.append(value)
        layout.append(line)
        kinds = kinds or tuple(isinstance(value, bytes) for value in row)
    if layout:
        statement = _statement(table, tuple(columns), kinds, replace)
        connection.execute(statement, (json.dumps(layout), b"".join(blobs)))


@lru_cache(maxsize=16)
def _statement(
    table: str, columns: tuple[str, ...], are_blobs: tuple[bool, ...], replace: bool
) -> str:
    found = []
    place = 0
    for is_blob in are_blobs:
        value = f"json_extract(value, '$[{place}]')"
        if is_blob:
            value = f"substr(?2, {value}, json_extract(value, '$[{place + 1}]'))"
        found.append(value)
        place += 1 + is_blob
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    return (
        f"{verb} INTO {table} ({', '.join(columns)}) "
        f"SELECT {', '.join(found)} FROM json_each(?1) WHERE ?2 NOTNULL"
    )
