"""A claim: the file that says, before a run begins, that it does, and afterwards how it ended.

The process that runs it holds a lock on it, and so does the command itself, which inherits the
descriptor: while anybody holds the lock, the run goes on, whoever else was killed. A claim that
nobody holds and that has no second line is of a run whose end nobody saw.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from roundtrip.watching.journal import Entry, entry_of, sync_folder

CLAIMS = "claims"
_MODE = 0o600


class Outcome(NamedTuple):
    """How a run ended: `code` is the exit code, or minus the signal's number; None: never began."""

    code: int | None
    seconds: float
    reason: str | None = None  # why that is a failure
    stderr: str = ""  # its end
    identity: str | None = None  # of the file as the command left it, if that was asked for

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.code == 0 and self.reason is None


class Claim:
    """A run's own claim, held by the process that runs it."""

    def __init__(self, claims: Path, entry: Entry) -> None:
        """Make it, lock it, and have it on disk.

        Raises:
            OSError: it is not there; nothing was run.
        """
        self._path = claims / str(entry.run)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.descriptor = os.open(self._path, flags, _MODE)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self.descriptor, _line(_fields(entry)))
            os.fsync(self.descriptor)
            sync_folder(claims)
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise

    def withdraw(self) -> None:
        """Nothing was begun after all."""
        self._path.unlink(missing_ok=True)

    def finish(self, outcome: Outcome) -> None:
        """Write down how it ended.

        Raises:
            OSError: that is not on disk.
        """
        os.write(self.descriptor, _line(outcome._asdict()))
        os.fsync(self.descriptor)


class Left(NamedTuple):
    """A claim of an earlier watch: `outcome` is None if nobody saw its end."""

    path: Path
    entry: Entry
    outcome: Outcome | None


def left_in(claims: Path) -> Iterator[Path]:
    """The claims that are there, oldest first."""
    names = [name for name in os.listdir(claims) if name.isdigit()]
    return (claims / name for name in sorted(names, key=int))


def take(path: Path) -> Left | None:
    """Read a claim whose run is over, whichever way.

    Returns None where there was nothing to read: the run never began.

    Raises:
        BlockingIOError: it is still going on.
        OSError: nobody can tell.
    """
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        first, _, rest = file.read().partition(b"\n")
    fields = _parsed(first)
    entry = entry_of(fields) if fields is not None else None
    if entry is None:
        return None
    return Left(path, entry, _outcome(rest))


def running_entry(path: Path) -> Entry | None:
    """What a run that is still going on is about."""
    try:
        fields = _parsed(path.read_bytes().partition(b"\n")[0])
    except FileNotFoundError:
        return None  # Just now.
    return entry_of(fields) if fields is not None else None


def _outcome(line: bytes) -> Outcome | None:
    fields = _parsed(line) if line.endswith(b"\n") else None
    try:
        return Outcome(**fields) if fields is not None else None
    except TypeError:
        return None


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
