"""A whole tree by one mark: fanotify(7) on its file system, for users who may (CAP_SYS_ADMIN).

Nothing has to be done for each folder, so a tree of any size is watched at once, and what is put
into a new folder is told even if it is there before anybody knew of the folder. Events name their
folder by a handle; open_by_handle_at(2) says where that is (CAP_DAC_READ_SEARCH). The kernel tells
of the whole file system: what is outside the tree is dropped here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from roundtrip import mounts
from roundtrip.errors import ShareError
from roundtrip.watch import fanotify_calls as calls
from roundtrip.watch.fanotify import (
    LIMITS,
    UNSUPPORTED,
    kinds_in,
    meaning_of,
    no_group,
    open_group,
)
from roundtrip.watch.fanotify_calls import Bit, Place, Told
from roundtrip.watch.handles import handle_of, open_handle
from roundtrip.watch.kernel import READ_SIZE
from roundtrip.watch.mounts import MountChanges
from roundtrip.watch.port import Deliver, Event, Kind, unwatchable

logger = logging.getLogger("roundtrip.watch")

_REMEMBERED = 100_000
"""Folders whose place is remembered; more are looked up again."""
_NO_FILES = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs"})
_FOLDER_MOVES = Bit.DELETE | Bit.MOVED_FROM | Bit.MOVED_TO
_LOOK_AGAIN = 1.0


class _Layout(NamedTuple):
    """A folder, and what is mounted in it: points and the numbers of their mounts."""

    top: str  # without symbolic links
    identity: tuple[int, int]
    inside: tuple[tuple[str, int], ...]

    @property
    def points(self) -> list[str]:
        return [self.top, *(point for point, _ in self.inside)]

    def is_current(self, path: Path) -> bool:
        """Whether the path still leads to the same folder."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity


class _Marks(NamedTuple):
    """A group, what it was made for, and by a file system's id where that is mounted."""

    group: int
    layout: _Layout
    points: dict[int, list[str]]


def refused_filesystem(path: Path) -> str | None:
    """Why this process may not watch the whole file system of `path`; None if it may."""
    try:
        group = calls.init()
    except OSError as error:
        return UNSUPPORTED.get(error.errno or 0, error.strerror)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            calls.mark(group, Bit.CREATE, folder, filesystem=True)
            os.close(open_handle(folder, handle_of(folder)))
        finally:
            os.close(folder)
    except PermissionError:
        return "whole file systems are for privileged users (CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH)"
    except OSError as error:
        return UNSUPPORTED.get(error.errno or 0, error.strerror)
    finally:
        os.close(group)
    return None


class FanotifyTree:
    """Tells what happens anywhere below a folder. Made inside a running event loop.

    An event's `folder` is the path relative to the tree, "" for its top. RESCAN and GONE are told
    of the top only. Where another local file system is mounted in the tree, it is watched as well.

    Raises:
        ShareError: it can't be watched.
        NoRoom: this user has no group left.
    """

    def __init__(self, deliver: Deliver, top: Path, kinds: frozenset[Kind]) -> None:
        self._deliver = deliver
        self._top = top
        self._meaning = meaning_of(kinds | {Kind.FOLDER, Kind.REMOVED})
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._marks = self._put_on()
        self._retry: asyncio.TimerHandle | None = None
        self._known: dict[Place, str | None] = {}  # None: outside the tree
        try:
            self._mounts = MountChanges(self._on_mount)
        except OSError as error:
            os.close(self._marks.group)
            raise no_group(error.errno or 0) from error
        self._loop.add_reader(self._marks.group, self._read)

    def check(self) -> None:
        """Look whether the path still leads to what is watched; for a slow timer."""
        if self._retry is None and self._has_changed():
            self._renew()

    def _has_changed(self) -> bool:
        try:
            return _layout(self._top) != self._marks.layout
        except ShareError:
            return True

    def close(self) -> None:
        """Tell nothing more and give everything back."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._mounts.close()
        self._loop.remove_reader(self._marks.group)
        os.close(self._marks.group)

    # The marks

    def _put_on(self) -> _Marks:
        """Mark the file system of what is at the path now, and those that are mounted in it."""
        layout = _layout(self._top)
        group = open_group()
        points: dict[int, list[str]] = {}
        try:
            for point in layout.points:
                try:
                    points.setdefault(self._marked(group, point), []).append(point)
                except OSError as error:
                    if point == layout.top:
                        raise unwatchable(self._top, error, LIMITS, UNSUPPORTED) from None
                    fields = {"folder": point, "reason": str(error)}
                    logger.warning("folder not watched", extra=fields)
        except BaseException:
            os.close(group)
            raise
        return _Marks(group, layout, points)

    def _marked(self, group: int, point: str) -> int:
        mask = 0
        for bits in self._meaning:
            mask |= bits
        folder = os.open(point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            calls.mark(group, mask, folder, filesystem=True)
            return calls.fsid_of(folder)
        finally:
            os.close(folder)

    def _on_mount(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._renew()
        else:
            self.check()

    def _renew(self) -> None:
        """Something else is at the path, or mounted in it: mark that, and have it listed."""
        before, was_gone, self._retry = self._marks, self._retry is not None, None
        try:
            self._marks = self._put_on()
        except ShareError as error:
            self._retry = self._loop.call_later(_LOOK_AGAIN, self._renew)
            if not was_gone:
                fields = {"folder": str(self._top), "reason": str(error)}
                logger.warning("watch lost", extra=fields)
                self._deliver([Event("", "", Kind.GONE)])
            return
        self._known.clear()
        # A new group, since marks on file systems that count no more can't be taken off by a path.
        self._loop.remove_reader(before.group)
        os.close(before.group)
        self._loop.add_reader(self._marks.group, self._read)
        self._deliver([Event("", "", Kind.RESCAN)])

    # From the kernel to deliver()

    def _read(self) -> None:
        try:
            buffer = os.read(self._marks.group, READ_SIZE)
        except BlockingIOError:
            return
        events, moved, lost = list[Event](), False, False
        for told in calls.events(buffer):
            if told.mask & Bit.Q_OVERFLOW:
                lost = True
            elif told.place is not None:
                if told.mask & Bit.ONDIR and told.mask & _FOLDER_MOVES:
                    moved = True
                    self._known.clear()  # Any path may be another one now.
                events += self._events(told, told.place)
        if lost:
            logger.warning("events lost", extra={"reason": "the kernel's queue was full"})
            self._known.clear()
            events.insert(0, Event("", "", Kind.RESCAN))
        if events:
            self._deliver(events)
        if moved or lost:
            self._look()

    def _look(self) -> None:
        """Folders were moved: the top may be among them, or one that it is in."""
        if (
            self._retry is None
            and not self._closed
            and not self._marks.layout.is_current(self._top)
        ):
            self._renew()

    def _events(self, told: Told, place: Place) -> Iterator[Event]:
        folder = self._known.get(place, "?")
        if folder == "?":  # No path relative to the tree is that and unknown as well.
            folder = self._known[place] = self._folder_of(place)
            if len(self._known) > _REMEMBERED:
                self._known.clear()
        if folder is not None:
            name = os.fsdecode(told.name)
            for kind in kinds_in(told, self._meaning):
                yield Event(folder, name, kind)

    def _folder_of(self, place: Place) -> str | None:
        """Where a handle leads to, relative to the tree; None if that is outside, or gone."""
        top = self._marks.layout.top
        above = top.rstrip("/") + "/"
        # A file system may be mounted in the tree more than once, and each mount shows a part.
        for point in self._marks.points.get(place.fsid, ()):
            path = _path_of(place, point)
            if path == top:
                return ""
            if path is not None and path.startswith(above):
                return path.removeprefix(above)
        return None


def _path_of(place: Place, point: str) -> str | None:
    """Where a handle leads to through a mount; None if it was deleted since."""
    try:
        # Not kept open: that would keep the file system from being unmounted.
        mount = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            opened = open_handle(mount, place.handle)
        finally:
            os.close(mount)
        try:
            return os.readlink(f"/proc/self/fd/{opened}")
        finally:
            os.close(opened)
    except OSError:
        return None


def _layout(path: Path) -> _Layout:
    """What is at a path now; network mounts in it are left out, since they send no events.

    Raises:
        ShareError: it isn't there, or is no folder.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise unwatchable(path, error) from None
    top = os.path.realpath(path)
    try:
        table = mounts.read()
    except FileNotFoundError:
        table = ""
    inside = {
        each.point: each.number
        for each in mounts.below(table, top)
        if not mounts.is_remote(each.fstype) and each.fstype not in _NO_FILES
    }
    return _Layout(top, (status.st_dev, status.st_ino), tuple(inside.items()))
