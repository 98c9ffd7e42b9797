"""Where a watch keeps what it knows: a folder outside the watched one, for one watch at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from pathlib import Path

from roundtrip.errors import BusyError, ShareError
from roundtrip.watching.claim import CLAIMS
from roundtrip.watching.journal import JOURNAL

LOCK = "lock"
_PATIENCE = 3.0
"""Seconds that what a killed watch has begun, and not yet claimed, may hold the lock."""
_PAUSE = 0.05


def default(top: str) -> Path:
    """The state folder of a watched folder: $XDG_STATE_HOME/roundtrip/watch/<name>-<digest>."""
    home = os.environ.get("XDG_STATE_HOME") or ""
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    digest = hashlib.sha256(os.fsencode(top)).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(top))[:40].strip("-.")
    return base / "roundtrip" / "watch" / f"{name or 'folder'}-{digest}"


class State:
    """A state folder, opened and locked.

    Raises:
        BusyError: another watch uses it.
        ShareError: it can't be used.
    """

    def __init__(self, path: Path, top: str, *, deep: bool) -> None:
        self.path = path
        self.claims = path / CLAIMS
        refuse_inside(path, top, "the state", deep=deep)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.claims.mkdir(exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self.lock = os.open(path / LOCK, flags, 0o600)
        except OSError as error:
            raise ShareError(f"{path}: can't be used for state: {error.strerror}") from None
        try:
            self._take()
        except BaseException:
            os.close(self.lock)
            raise

    def _take(self) -> None:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise ShareError(f"{self.path}: can't be locked: {error.strerror}") from None
                holder = os.pread(self.lock, 32, 0).decode(errors="replace").strip()
                if time.monotonic() > end or _is_alive(holder):
                    raise BusyError(
                        f"another watch works here (process {holder or 'unknown'}, state "
                        f"{self.path}); stop it, or give this one a --state of its own"
                    ) from None
                time.sleep(_PAUSE)
            else:
                os.ftruncate(self.lock, 0)
                os.pwrite(self.lock, f"{os.getpid()}\n".encode(), 0)
                return

    def close(self) -> None:
        """Give the lock back."""
        os.close(self.lock)


def exists(path: Path) -> bool:
    """Whether a watch ever used this state folder."""
    return (path / JOURNAL).exists()


def _is_alive(holder: str) -> bool:
    """Whether the process that wrote down its number is there, and no zombie (proc_pid_stat(5))."""
    if not holder.isdigit():
        return False
    try:
        found = Path(f"/proc/{holder}/stat").read_bytes()
    except OSError:
        return False
    return found.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def refuse_inside(path: Path, top: str, what: str, *, deep: bool) -> None:
    """Refuse a folder that would be watched itself: what is put there would never rest.

    Raises:
        ShareError: it is the watched folder, or, in a tree, somewhere in that and not hidden.
    """
    real = os.path.realpath(path)
    inside = real.removeprefix(top.rstrip("/") + "/")
    hidden = any(part.startswith(".") for part in inside.split("/"))
    if real == top or (deep and inside != real and not hidden):
        raise ShareError(f"{path}: {what} must be outside of the watched folder {top}")
