"""Wake-ups by looking: lists each folder at an interval and tells what differs.

For folders that somebody else's kernel changes. Each folder is listed in a thread of its own, since
a call on a mount whose server is away may block for minutes, and nothing else may wait for that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from roundtrip.errors import ShareError
from roundtrip.watch.port import Deliver, Event, Kind, unwatchable

logger = logging.getLogger("roundtrip.watch")

REST = 4.0
"""After a look, rest at least this many times as long as it took: huge folders wait longer."""

Stamp = tuple[int, int]
"""st_size and st_mtime_ns of a file."""


class PollWatcher:
    """A watcher that lists folders every `interval` seconds.

    It reports RESCAN after the first look at a folder: what came before that look is in the
    listing, what comes after it is reported. When CLOSED is asked for, a new file is never reported
    as APPEARED, since nobody can see whether it was renamed or is still being written; every file
    of the first look counts as changed.
    """

    backend = "poll"

    def __init__(self, deliver: Deliver, interval: float = 1.0) -> None:
        self._deliver = deliver
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._lookouts: dict[str, _Lookout] = {}

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """See `Watcher.add`; this opens the folder once on the caller's thread."""
        if folder in self._lookouts:
            raise ShareError(f"{path} can't be watched: {folder!r} is watched already")
        try:
            os.scandir(path).close()
        except OSError as error:
            raise unwatchable(path, error) from None
        self.take_over(folder, path, kinds)

    def take_over(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """Begin without a look from the caller's thread: for a folder that has been watched.

        What is at the path now may hang, and is no reason to refuse.
        """
        lookout = _Lookout(View(folder, path, kinds), self._interval, self._tell)
        self._lookouts[folder] = lookout
        lookout.start()

    def remove(self, folder: str) -> None:
        """See `Watcher.remove`."""
        lookout = self._lookouts.pop(folder, None)
        if lookout is not None:
            lookout.ended.set()  # and not join(): it may be held up by a dead mount

    def check(self) -> None:
        """Nothing to do: every look goes by the path."""

    def close(self) -> None:
        """See `Watcher.close`."""
        for folder in list(self._lookouts):
            self.remove(folder)

    def _tell(self, lookout: _Lookout, events: list[Event]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hand_over, lookout, events)
        except RuntimeError:
            lookout.ended.set()  # the loop was closed without close(): nobody listens any more

    def _hand_over(self, lookout: _Lookout, events: list[Event]) -> None:
        if not lookout.ended.is_set():
            self._deliver(events)


class _Lookout(threading.Thread):
    """The thread that looks at one folder; a daemon, so that a dead mount can't stop the exit."""

    def __init__(
        self, view: View, interval: float, tell: Callable[[_Lookout, list[Event]], None]
    ) -> None:
        super().__init__(name=f"watch-{view.folder}", daemon=True)
        self.ended = threading.Event()
        self._view = view
        self._interval = interval
        self._tell = tell

    def run(self) -> None:
        pause = 0.0
        while not self.ended.wait(pause):
            began = time.monotonic()
            if events := self._view.look():
                self._tell(self, events)
            pause = max(self._interval, (time.monotonic() - began) * REST)


class _Listing(NamedTuple):
    device: int
    entries: dict[str, os.DirEntry[str]]


class View:
    """What one folder held at the last look."""

    def __init__(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        self.folder = folder
        self._path = path
        self._kinds = kinds
        self._device: int | None = None  # None: never seen, or gone
        self._gone = False
        self._known: dict[str, Stamp | None] = {}  # stamps of files, if CLOSED is asked for
        self._changing: set[str] = set()

    def look(self) -> list[Event]:
        """List the folder and tell what differs from the last time; it blocks as the mount does."""
        try:
            found = self._list()
            if found.device != self._device:
                return self._start_over(found)
            return list(self._differences(found.entries))
        except OSError as error:
            return self._lose(error)

    def _start_over(self, found: _Listing) -> list[Event]:
        self._known, self._changing = {}, set()
        for _ in self._differences(found.entries):
            pass  # there is nothing to compare with; RESCAN stands for all of it
        if self._gone:
            logger.info("watching again", extra={"folder": self.folder})
        self._device, self._gone = found.device, False
        return [self._event("", Kind.RESCAN)]

    def _list(self) -> _Listing:
        # The device alone tells of a mount that came or went. Not the inode number: FUSE may number
        # a folder anew, and a folder replaced on the same device shows in its names.
        device = os.stat(self._path).st_dev
        with os.scandir(self._path) as entries:
            return _Listing(device, {entry.name: entry for entry in entries})

    def _lose(self, error: OSError) -> list[Event]:
        if self._gone:
            return []
        reason = str(unwatchable(self._path, error))
        logger.warning("watch lost", extra={"folder": self.folder, "reason": reason})
        self._device, self._gone = None, True
        return [self._event("", Kind.GONE)]

    def _differences(self, entries: dict[str, os.DirEntry[str]]) -> Iterator[Event]:
        for name in self._known.keys() - entries.keys():
            del self._known[name]
            self._changing.discard(name)
            if Kind.REMOVED in self._kinds:
                yield self._event(name, Kind.REMOVED)
        for name in entries.keys() - self._known.keys():
            self._known[name] = None
            kind = self._kind_of_new(entries[name])
            if kind in self._kinds:
                yield self._event(name, kind)
        if Kind.CLOSED in self._kinds:
            yield from self._closed(entries)

    def _kind_of_new(self, entry: os.DirEntry[str]) -> Kind:
        if entry.is_dir(follow_symlinks=False):
            return Kind.FOLDER
        sure = Kind.APPEARED in self._kinds and Kind.CLOSED not in self._kinds
        return Kind.APPEARED if sure else Kind.CREATED

    def _closed(self, entries: dict[str, os.DirEntry[str]]) -> Iterator[Event]:
        for name, entry in entries.items():
            stamp = _stamp(entry)
            if stamp is None:
                continue
            if stamp != self._known[name]:
                self._known[name] = stamp
                self._changing.add(name)
            elif name in self._changing:
                self._changing.discard(name)
                yield self._event(name, Kind.CLOSED)

    def _event(self, name: str, kind: Kind) -> Event:
        return Event(self.folder, name, kind)


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    """What changes when a file is written; None if it is no regular file, or is gone again."""
    try:
        if not entry.is_file(follow_symlinks=False):
            return None
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # the next look reports the removal
    return status.st_size, status.st_mtime_ns
