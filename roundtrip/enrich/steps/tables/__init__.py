"""Tables for the `lookup` step. The port here, one kind of file in each module."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import Protocol

from roundtrip.enrich.settings import LookupSettings

SQLITE_MAGIC = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html section 1.3
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".mmdb": "maxmind"}


class BrokenTable(ValueError):
    """The file can't be used as this table; one line that names it."""


class Busy(Exception):
    """Another program is writing the table at this moment."""


class UnusableKey(Exception):
    """The key is nothing that this kind of table has; one line."""


class Table(Protocol):
    """A file, opened as a table. Look-ups are quick and never wait."""

    def get(self, key: str) -> object:
        """The row found first for the key; None when there is none.

        Raises Busy, UnusableKey and, when the file has turned out to be broken, BrokenTable.
        """

    def close(self) -> None:
        """Let go of the file."""


def check(settings: LookupSettings) -> str:
    """The kind of table. BrokenTable when the file is not there, or the settings don't fit it."""
    kind = _kind(settings.file)
    if kind == "sqlite" and not (settings.table and settings.column):
        raise broken(settings, "SQLite needs lookup.table and lookup.column")
    if kind != "sqlite" and settings.table:
        raise broken(settings, "lookup.table is for SQLite only")
    if kind == "maxmind" and settings.column:
        raise broken(settings, "MaxMind has no columns: leave lookup.column out")
    return kind


def opened(settings: LookupSettings) -> Table:
    """The table, read or indexed: this may take a while. Raises BrokenTable."""
    kind = check(settings)
    try:
        if kind == "sqlite":
            from roundtrip.enrich.steps.tables.sqlite import SqliteTable

            return SqliteTable(settings)
        if kind == "maxmind":
            from roundtrip.enrich.steps.tables.maxmind import MaxmindTable

            return MaxmindTable(settings)
        from roundtrip.enrich.steps.tables.delimited import DelimitedTable

        return DelimitedTable(settings, tabs=kind == "tsv")
    except OSError as error:
        raise broken(settings, error.strerror or str(error)) from None
    except sqlite3.Error as error:
        raise broken(settings, str(error)) from None


def broken(settings: LookupSettings, reason: str) -> BrokenTable:
    """The error that says what is wrong with the file."""
    return BrokenTable(f"lookup.file {settings.file}: {reason}")


def _kind(file: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # or opening it might wait for ever
            raise BrokenTable(f"lookup.file {file}: it is no file")
        with open(file, "rb") as opening:
            magic = opening.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise BrokenTable(f"lookup.file {file}: {error.strerror}") from None
    if magic == SQLITE_MAGIC:
        return "sqlite"
    suffix = os.path.splitext(file)[1].lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    raise BrokenTable(f"lookup.file {file}: it must be .csv, .tsv, .mmdb or an SQLite database")
