"""One agent per role, share and state folder: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import time
from pathlib import Path
from typing import BinaryIO

from roundtrip.errors import BusyError, ShareError
from roundtrip.protocol.markers import timestamp

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TRIES = 5
_PAUSE = 0.02  # seconds


class AgentLock:
    """An flock(2) on a file of the local disk, which says who holds it."""

    def __init__(self, path: Path, doing: str | None = None) -> None:
        """`doing` is said to others: what the holder does, if it is no agent or worker."""
        self._path = path
        self._doing = doing
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the lock or say who has it.

        Raises:
            BusyError: another live process holds it.
            ShareError: the file can't be opened, or is no plain file.
        """
        try:
            file = _opened(self._path)
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
        _sign(file.fileno(), _whoami(self._doing).encode())
        self._file = file

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next holder."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _opened(path: Path) -> BinaryIO:
    """The lock's file, made if it isn't there.

    It lies in a share that the other host can write, and it is about to be overwritten: a link in
    its place, or in its folder's, must not make that another file of this host.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        opened = os.open(path.name, _OPEN, 0o666, dir_fd=folder)
    finally:
        os.close(folder)
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(opened)
        raise ShareError(
            f"{path}: not a plain file of its own (a device, a hard link?); remove it and look "
            "who put it there"
        )
    return os.fdopen(opened, "r+b")


def _sign(lock: int, holder: bytes) -> None:
    """Write down who holds it: over the last holder's words, which takes no room on a full disk."""
    try:
        os.pwrite(lock, holder, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        holder = b""  # The lock itself needs none.
    os.ftruncate(lock, len(holder))


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


def _whoami(doing: str | None) -> str:
    found = {"pid": os.getpid(), "host": socket.gethostname(), "since": timestamp(time.time())}
    return json.dumps(found if doing is None else {**found, "doing": doing})
