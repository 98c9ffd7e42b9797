"""The port to wake-ups for a folder: what is reported, to whom, and what every watcher can do."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

from roundtrip.errors import ShareError


class Kind(Enum):
    """What an event says: a hint, which may be late, doubled, or for a name that is gone."""

    APPEARED = "appeared"
    """Renamed into place. Polling: a name that was not there before (unless CLOSED is asked)."""
    CREATED = "created"
    """Made in place, may still be growing. Polling: a new name, if APPEARED does not report it."""
    CLOSED = "closed"
    """Closed after writing. Polling: size and mtime alike in two looks after a change."""
    REMOVED = "removed"
    """Deleted, or renamed away."""
    FOLDER = "folder"
    """A sub-folder was made or moved in."""
    RESCAN = "rescan"
    """Events may have been lost, or the watch is a new one: list the folder (the name is "")."""
    GONE = "gone"
    """The folder is not there (the name is ""); RESCAN follows when it is back."""


TROUBLES = frozenset({Kind.RESCAN, Kind.GONE})


class Event(NamedTuple):
    """A hint to look at `name` in the folder that was added under the key `folder`."""

    folder: str
    name: str
    kind: Kind


Deliver = Callable[[list[Event]], None]
"""Takes a list of at least one event, troubles first, on the loop's thread. It must not raise."""


class Watcher(Protocol):
    """Reports what happens in folders until it is closed. Made inside a running event loop."""

    backend: str
    """`inotify`, `fanotify` or `poll`."""

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """Report `kinds` of the folder at `path` under the key `folder`; RESCAN and GONE always.

        Raises:
            ShareError: it can't be watched: missing, unreadable, added already, a limit reached.
        """

    def remove(self, folder: str) -> None:
        """Report nothing more of `folder`; a key that was never added is no error."""

    def check(self) -> None:
        """Look whether each path still leads to the folder that is watched; if not, put that right.

        For a slow timer: a folder whose parent was renamed, or that was removed while some process
        held it open, sends no event of its own.
        """

    def close(self) -> None:
        """Report nothing more and give everything back."""


class NoRoom(ShareError):
    """Nothing is wrong with the folder: this user or process has no more of what a watch needs."""


_ADVICE = {
    errno.ENOENT: "there is no such folder; make it or mount it",
    errno.ENOTDIR: "it is not a folder",
    errno.EACCES: "this user may not read it",
}
_INOTIFY_LIMITS = {
    errno.ENOSPC: "the kernel's limit of inotify watches is reached;"
    " raise it with: sysctl fs.inotify.max_user_watches=1048576",
}
_NONE: Mapping[int, str] = {}
_LIMITS = {
    errno.EMFILE: "this process has no descriptor left; raise it with: ulimit -n 65536"
    " (systemd: LimitNOFILE=65536)",
    errno.ENFILE: "this machine has no descriptor left; raise it with: sysctl fs.file-max",
    errno.ENOMEM: "the kernel has no memory left for it",
}


def unwatchable(
    path: Path,
    error: OSError,
    limits: Mapping[int, str] = _INOTIFY_LIMITS,
    advices: Mapping[int, str] = _NONE,
) -> ShareError:
    """The one line that says why `path` can't be watched and what to do.

    `limits` and `advices` are what a backend says of an errno; in `limits`, room is wanting.
    """
    number = error.errno or 0
    room = {**_LIMITS, **limits}
    kind = NoRoom if number in room else ShareError
    advice = room.get(number) or _ADVICE.get(number) or advices.get(number)
    return kind(f"{path} can't be watched: {advice or error.strerror or error}")
