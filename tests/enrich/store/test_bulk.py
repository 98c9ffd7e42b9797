"""Rows of any values go in by one statement, and come out as they were."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.store.bulk import insert

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ROWS = st.lists(st.tuples(NUMBERS, st.binary(), TEXTS, st.binary()), max_size=20)


def table() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (number, first BLOB, text TEXT, second BLOB)")
    return connection


@given(ROWS)
def test_rows_come_out_as_they_went_in_and_in_order(
    rows: list[tuple[float, bytes, str | None, bytes]],
) -> None:
    connection = table()
    insert(connection, "t", ("number", "first", "text", "second"), rows)
    assert connection.execute("SELECT * FROM t ORDER BY rowid").fetchall() == rows


@pytest.mark.parametrize("count", [1, 5000])
def test_a_batch_is_one_statement_whatever_its_length(count: int) -> None:
    connection = table()
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    rows = ((n, b"key", "text", b"value") for n in range(count))
    insert(connection, "t", ("number", "first", "text", "second"), rows)
    assert len(seen) == 1


def test_nothing_to_insert_is_no_statement() -> None:
    connection = sqlite3.connect(":memory:")
    insert(connection, "missing", ("a",), [])


def test_a_row_may_take_the_place_of_one_with_its_key() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (key BLOB PRIMARY KEY, value BLOB)")
    for value in (b"old", b"new"):
        insert(connection, "t", ("key", "value"), [(b"k", value)], replace=True)
    assert connection.execute("SELECT * FROM t").fetchall() == [(b"k", b"new")]
