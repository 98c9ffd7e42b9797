"""The ledger's file: its tables, and how it is opened for writing and for reading."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from roundtrip.errors import ShareError

FILE = "ledger.sqlite"  # its name in the state folder
VERSION = 1  # PRAGMA user_version
APPLICATION = 0x52545250  # "RTRP", PRAGMA application_id: tells our file from another program's

# Answers are appended, and found by a narrow index: half the pages are written that a table
# clustered by random keys would dirty. Scopes have numbers, so that a name is stored once, and to
# forget one is a single row at once; its answers are deleted bit by bit later.
_TABLES = (
    "CREATE TABLE scopes (id INTEGER PRIMARY KEY, name TEXT)",  # name NULL: forgotten
    "CREATE TABLE answers (id INTEGER PRIMARY KEY, scope INTEGER, key BLOB, answer BLOB)",
    "CREATE INDEX answers_by_key ON answers (scope, key)",
    "CREATE TABLE tickets (scope INTEGER, key BLOB, ticket BLOB, PRIMARY KEY (scope, key)) "
    "WITHOUT ROWID",
    # until: fresh before; gone: of no use after; both Unix time. size: bytes, indexes included.
    "CREATE TABLE cache (id INTEGER PRIMARY KEY, key BLOB, step TEXT, made REAL, until REAL, "
    "gone REAL, size INTEGER, etag TEXT, answer BLOB)",
    "CREATE INDEX cache_by_key ON cache (key)",
    "CREATE INDEX cache_by_step ON cache (step, until, size)",
    "CREATE INDEX cache_by_gone ON cache (gone)",
    "CREATE TABLE counters (counter TEXT, period TEXT, spent INTEGER, "
    "PRIMARY KEY (counter, period)) WITHOUT ROWID",
)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file, made if it is missing. There must never be two of these at once.

    SQLite before 3.51.3 can lose a commit when two connections write ("WAL-reset bug").
    Any one thread may use the connection. Raises ShareError.
    """
    try:
        _make(path)
        connection = _connect(path, "rw")
    except OSError as error:
        raise ShareError(f"{path}: can't be opened: {error.strerror}") from None
    except sqlite3.Error as error:
        raise unusable(path, error) from None
    try:
        _set_up(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise unusable(path, error) from None
    except ShareError:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a file that exists; nothing can be written through it. Raises ShareError."""
    try:
        connection = _connect(path, "ro")
        try:
            _check(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise unusable(path, error) from None
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def _make(path: Path) -> None:
    """An empty file that only its owner may read; SQLite's other files take its mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        path.chmod(0o600)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded before the first table only
    with closing(connection.execute("SELECT count(*) FROM sqlite_master")) as found:
        is_new = found.fetchone()[0] == 0
    if not is_new:
        _check(connection, path)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "wal_autocheckpoint = 4000",  # pages of 4 KiB: fewer, larger checkpoints
        "journal_size_limit = 33554432",  # bytes that an emptied log may keep
        "cache_size = -16000",  # KiB
    ):
        connection.execute(f"PRAGMA {pragma}")
    if is_new:
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(table)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ShareError when the file is another program's or a later version's."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise ShareError(f"{path}: not a ledger of roundtrip; {AWAY}")
    if version > VERSION:
        raise ShareError(
            f"{path}: made by a newer roundtrip (format {version}, this one knows {VERSION}); "
            f"install that version again, or {AWAY}"
        )


AWAY = (
    "move it away (with its -wal, -shm and -notes files, while no agent runs) to start with an "
    "empty one, at the cost of paying again for what it holds"
)


def unusable(path: Path, error: Exception) -> ShareError:
    """The error that says what to do about a file that SQLite can't read."""
    return ShareError(f"{path}: can't be used ({error}); {AWAY}")


def disk_bytes(path: Path) -> int:
    """What the file and its log take on disk now."""
    total = 0
    for name in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            total += name.stat().st_size
    return total
