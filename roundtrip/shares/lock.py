"""One agent per role, share and state folder: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import BinaryIO

from roundtrip.errors import BusyError, ShareError
from roundtrip.protocol.markers import timestamp

_TRIES = 5
_PAUSE = 0.02  # seconds


class AgentLock:
    """An flock(2) on a file of the local disk, which says who holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock or say who has it.

        Raises:
            BusyError: another live process holds it.
            ShareError: the file can't be opened.
        """
        try:
            file = self._path.open("a+b")
        except OSError as error:
            raise ShareError(f"{self._path}: can't lock: {error.strerror}") from error
        if not _locked(file):
            file.seek(0)
            holder = file.read(4096).decode(errors="replace").strip()
            file.close()
            raise BusyError(
                f"{self._path.parent}: another agent works here already ({holder or 'unknown'}); "
                "stop that one first"
            )
        file.truncate(0)
        file.write(_whoami().encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next holder."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _locked(file: BinaryIO) -> bool:
    """Lock the file; a `status` that asks for the holder has it for a moment, so try again."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def holder_of(path: Path) -> str | None:
    """Who holds the lock at `path` now; None if nobody does."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(4096).decode(errors="replace").strip() or "unknown"
    except FileNotFoundError:
        return None
    return None


def _whoami() -> str:
    return json.dumps(
        {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp(time.time())}
    )
