"""Wake-ups from the kernel by fanotify(7): inode marks on folders, which everybody may put on.

What differs from inotify: an event names its folder by a handle; several things that happened to
one name come as one event without their order; a mark can be taken off by a path only; and the end
of a mount is not told, so the mount table is watched (by `KernelWatcher`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable
from pathlib import Path

from roundtrip.watch import fanotify_calls as calls
from roundtrip.watch.fanotify_calls import Bit, Place, Told
from roundtrip.watch.handles import handle_of
from roundtrip.watch.kernel import KernelWatcher, Troubled, Watched
from roundtrip.watch.port import Event, Kind, NoRoom, unwatchable

_ALWAYS = Bit.DELETE_SELF | Bit.MOVE_SELF | Bit.ONDIR
# Removals first: whoever is told of a name that is there, too, looks after that and finds out.
_FILES = {
    Bit.DELETE | Bit.MOVED_FROM: Kind.REMOVED,
    Bit.CREATE: Kind.CREATED,
    Bit.MOVED_TO: Kind.APPEARED,
    Bit.CLOSE_WRITE: Kind.CLOSED,
}
_FOLDERS = {
    Bit.DELETE | Bit.MOVED_FROM | Bit.ONDIR: Kind.REMOVED,
    Bit.CREATE | Bit.MOVED_TO | Bit.ONDIR: Kind.FOLDER,
}
LIMITS = {
    errno.ENOSPC: "the kernel's limit of fanotify marks is reached;"
    " raise it with: sysctl fs.fanotify.max_user_marks=1048576",
}
_STALE = 16
UNSUPPORTED = {
    errno.EPERM: "fanotify_init(2) is refused: Linux before 5.13, or a filter of system calls"
    " (systemd: add SystemCallFilter=fanotify_init fanotify_mark)",
    errno.EINVAL: "this kernel's fanotify can't name files (before Linux 5.9)",
    errno.ENOSYS: "this kernel was built without fanotify",
    errno.EOPNOTSUPP: "its file system has no file handles, which fanotify needs",
    errno.ENODEV: "its file system has no id of its own, which fanotify needs",
    errno.EXDEV: "it is a btrfs subvolume, of which this kernel's fanotify can't tell",
}


def meaning_of(kinds: frozenset[Kind]) -> dict[int, Kind]:
    """What the bits of an event mean to who wants `kinds`."""
    return {int(b): k for b, k in [*_FILES.items(), *_FOLDERS.items()] if k in kinds}


def kinds_in(told: Told, meaning: dict[int, Kind]) -> list[Kind]:
    """What one event says, removals first."""
    folder = told.mask & Bit.ONDIR
    return [
        kind
        for bits, kind in meaning.items()
        if bits & Bit.ONDIR == folder and told.mask & bits & ~Bit.ONDIR
    ]


def open_group() -> int:
    """A new group of marks.

    Raises:
        NoRoom: this user has no group, this process no descriptor left, or the kernel gives none.
    """
    try:
        return calls.init()
    except OSError as error:
        raise no_group(error.errno or 0) from None


def no_group(code: int) -> NoRoom:
    """What to say when the kernel gives no group, by its errno."""
    advice = "; close some, or raise: sysctl fs.fanotify.max_user_groups=1024, ulimit -n 65536"
    return NoRoom(
        "the kernel gives no fanotify group: "
        + (UNSUPPORTED.get(code) or os.strerror(code))
        + (advice if code == errno.EMFILE else "")
    )


def refusal(path: Path) -> str | None:
    """Why this kernel can't watch the folder at `path` by fanotify; None if it can.

    A folder that can't be watched by anything, or a limit that is reached, is no such reason.
    """
    try:
        group = calls.init()
    except OSError as error:
        return UNSUPPORTED.get(error.errno or 0)
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            calls.mark(group, Bit.CREATE, folder)
            handle_of(folder)
        finally:
            os.close(folder)
    except OSError as error:
        return UNSUPPORTED.get(error.errno or 0)
    finally:
        os.close(group)
    return None


class FanotifyWatcher(KernelWatcher):
    """A watcher by fanotify; a mark is the folder's `Place`."""

    backend = "fanotify"

    _stale = 0  # marks on folders that were renamed away, where no path of ours leads

    def _open(self) -> int:
        return open_group()

    @staticmethod
    def _no_instance(code: int) -> NoRoom:
        return no_group(code)

    def _wanted(self, kinds: frozenset[Kind]) -> tuple[int, dict[int, Kind]]:
        meaning = meaning_of(kinds)
        mask = int(_ALWAYS)
        for bits in meaning:
            mask |= bits
        if Kind.CLOSED in kinds:
            mask |= Bit.EVENT_ON_CHILD  # Without it, only the folder itself would be told closed.
        return mask, meaning

    def _mark(self, watched: Watched, opened: int) -> Hashable:
        try:
            calls.mark(self._fd, watched.mask, opened)
            return Place(calls.fsid_of(opened), handle_of(opened))
        except OSError as error:
            raise unwatchable(watched.path, error, LIMITS, UNSUPPORTED) from None

    def _unmark(self, watched: Watched, mark: Hashable) -> None:
        try:
            folder = os.open(watched.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._stale += 1
            return
        try:
            if Place(calls.fsid_of(folder), handle_of(folder)) == mark:
                calls.unmark(self._fd, watched.mask, folder)
            else:
                self._stale += 1
        except OSError:
            self._stale += 1  # It went with its folder, or that is on a mount that came on top.
        finally:
            os.close(folder)

    def _parse(self, buffer: bytes) -> tuple[list[Event], Troubled]:
        events: list[Event] = []
        troubled: Troubled = {}
        for told in calls.events(buffer):
            if told.mask & Bit.Q_OVERFLOW:
                troubled.update(self._overflowed())
                continue
            watched = self._by_mark.get(told.place)
            if watched is None:
                continue
            if told.mask & (Bit.DELETE_SELF | Bit.MOVE_SELF):
                self._left(watched, told.mask)
                troubled[watched] = None
                continue
            name = os.fsdecode(told.name)
            for kind in kinds_in(told, watched.meaning):
                events.append(Event(watched.folder, name, kind))
        return events, self._tidied(troubled)

    def _left(self, watched: Watched, mask: int) -> None:
        """The folder has gone from the path: what else its mark says is about another place."""
        assert watched.mark is not None
        del self._by_mark[watched.mark]
        if mask & Bit.DELETE_SELF:
            watched.mark = None  # The mark went with it.

    def _tidied(self, troubled: Troubled) -> Troubled:
        """With many marks on folders that left, take all off and put those on again that count."""
        if self._stale <= max(_STALE, len(self._by_folder)):
            return troubled
        self._stale = 0
        calls.flush(self._fd)
        return troubled | dict.fromkeys(self._by_folder.values())
