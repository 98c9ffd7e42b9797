"""What watchers of kernel events have in common: a watch stays on the path, whatever happens to it.

A backend asks the kernel for marks and reads its events; here is what becomes of a folder that was
deleted, replaced, hidden by a mount, or for which the kernel has no room any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.watch.mounts import MountChanges
from roundtrip.watch.port import Deliver, Event, Kind, NoRoom, unwatchable

logger = logging.getLogger("roundtrip.watch")

READ_SIZE = 64 * 1024
FIRST_RETRY = 0.05
LAST_RETRY = 2.0
"""Seconds between the first, and at most between two later looks for a folder that is gone."""

Identity = tuple[int, int]
"""st_dev and st_ino of a folder."""


@dataclass(slots=True, eq=False)
class Watched:
    """A folder that was added, and the kernel's mark on it (`mark` is None while it is gone)."""

    folder: str
    path: Path
    mask: int
    meaning: dict[int, Kind]
    mark: Hashable | None = None
    identity: Identity | None = None
    delay: float = FIRST_RETRY
    retry: asyncio.TimerHandle | None = None


Troubled = dict[Watched, None]
"""Folders whose mark must be put on again, in order."""


class KernelWatcher(ABC):
    """A watcher for folders whose every change goes through this kernel.

    `on_full` is told of a folder that had a watch and can't get it again for want of room; it is
    watched no more then. `on_mount` is called when the mount table has changed, `check` if None.

    Raises:
        NoRoom: this user or process has no instance left.
    """

    backend: str

    def __init__(
        self,
        deliver: Deliver,
        on_full: Callable[[str, NoRoom], None] | None = None,
        on_mount: Callable[[], None] | None = None,
    ) -> None:
        self._deliver = deliver
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._by_folder: dict[str, Watched] = {}
        # Only living marks are in here: whatever comes late for one that was taken off finds
        # nobody.
        self._by_mark: dict[Hashable, Watched] = {}
        self._by_identity: dict[Identity, Watched] = {}
        self._wants: dict[frozenset[Kind], tuple[int, dict[int, Kind]]] = {}
        self._fd = self._open()
        try:
            self._mounts = MountChanges(on_mount or self.check)
        except OSError as error:  # It needs two descriptors more.
            os.close(self._fd)
            raise self._no_instance(error.errno or 0) from error
        self._loop.add_reader(self._fd, self._read)

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """See `Watcher.add`."""
        if folder in self._by_folder:
            raise ShareError(f"{path} can't be watched: {folder!r} is watched already")
        if kinds not in self._wants:  # A tree has tens of thousands of folders, wanted alike.
            self._wants[kinds] = self._wanted(kinds)
        watched = Watched(folder, path, *self._wants[kinds])
        self._put_on(watched)
        self._by_folder[folder] = watched

    def remove(self, folder: str) -> None:
        """See `Watcher.remove`."""
        watched = self._by_folder.pop(folder, None)
        if watched is None:
            return
        self._forget(watched)
        if watched.retry is not None:
            watched.retry.cancel()

    def check(self) -> None:
        """See `Watcher.check`."""
        self._put_again(
            watched
            for watched in self._by_folder.values()
            if _identity_at(watched.path) != watched.identity
        )

    def close(self) -> None:
        """See `Watcher.close`."""
        if self._fd < 0:
            return
        for watched in self._by_folder.values():
            if watched.retry is not None:
                watched.retry.cancel()
        self._by_folder.clear()
        self._by_mark.clear()
        self._mounts.close()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)  # which takes all marks off
        self._fd = -1

    # What a backend adds

    @abstractmethod
    def _open(self) -> int:
        """A new, non-blocking descriptor that events are read from; raises NoRoom."""

    @staticmethod
    @abstractmethod
    def _no_instance(code: int) -> NoRoom:
        """What to say when the kernel gives no descriptor, by its errno."""

    @abstractmethod
    def _wanted(self, kinds: frozenset[Kind]) -> tuple[int, dict[int, Kind]]:
        """The mask to ask for, and what the bits of an event then mean."""

    @abstractmethod
    def _mark(self, watched: Watched, opened: int) -> Hashable:
        """Put a mark on the open folder (O_PATH); raises ShareError."""

    @abstractmethod
    def _unmark(self, watched: Watched, mark: Hashable) -> None:
        """Take a mark off; it may have gone with its folder."""

    @abstractmethod
    def _parse(self, buffer: bytes) -> tuple[list[Event], Troubled]:
        """The events in what was read, and the folders whose mark must be put on again."""

    # From the kernel to deliver()

    def _read(self) -> None:
        try:
            buffer = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return  # remove() flushed what had woken us
        events, troubled = self._parse(buffer)
        self._report(troubled, events)

    def _overflowed(self) -> Troubled:
        """All folders, whatever they look like.

        The notice that a folder has gone may be among what was lost, and a folder made again often
        has the inode number of the one deleted.
        """
        logger.warning("events lost", extra={"reason": "the kernel's queue was full"})
        return dict.fromkeys(self._by_folder.values())

    # Keeping the mark on the path

    def _put_again(self, troubled: Iterable[Watched]) -> None:
        self._report(troubled, [])

    def _report(self, troubled: Iterable[Watched], events: list[Event]) -> None:
        troubles = [event for watched in list(troubled) for event in self._renew(watched)]
        if troubles or events:
            self._deliver(troubles + events)

    def _renew(self, watched: Watched) -> Iterator[Event]:
        """Put the mark on the folder that is at the path now, and say what that means."""
        before = watched.mark
        try:
            self._put_on(watched)
        except ShareError as error:
            if isinstance(error, NoRoom) and self._on_full is not None:
                self.remove(watched.folder)
                self._on_full(watched.folder, error)
            else:
                yield from self._lose(watched, str(error))
            return
        if before != watched.mark:
            self._take_off(watched, before)
            logger.info("watching again", extra={"folder": watched.folder})
        if watched.retry is not None:
            watched.retry.cancel()
        watched.retry, watched.delay = None, FIRST_RETRY
        yield Event(watched.folder, "", Kind.RESCAN)

    def _lose(self, watched: Watched, reason: str) -> Iterator[Event]:
        """Look again later; say that the folder is gone if it was there before."""
        if watched.retry is None:
            logger.warning("watch lost", extra={"folder": watched.folder, "reason": reason})
            yield Event(watched.folder, "", Kind.GONE)
        else:
            watched.retry.cancel()
        self._forget(watched)
        watched.retry = self._loop.call_later(watched.delay, self._put_again, [watched])
        watched.delay = min(watched.delay * 2, LAST_RETRY)

    def _put_on(self, watched: Watched) -> None:
        """Ask the kernel for a mark on what is at the path now."""
        with _opened(watched.path) as opened:
            status = os.fstat(opened)
            identity = status.st_dev, status.st_ino
            self._refuse_twice(watched, identity)
            mark = self._mark(watched, opened)
        if watched.identity is not None and self._by_identity.get(watched.identity) is watched:
            del self._by_identity[watched.identity]
        watched.mark, watched.identity = mark, identity
        self._by_mark[mark] = self._by_identity[identity] = watched

    def _refuse_twice(self, watched: Watched, identity: Identity) -> None:
        # The kernel has one mark for a folder; a second one would change the mask of the first.
        other = self._by_identity.get(identity)
        if other is None or other is watched or other.mark not in self._by_mark:
            return
        raise ShareError(f"{watched.path} can't be watched: it is the same folder as {other.path}")

    def _forget(self, watched: Watched) -> None:
        if watched.identity is not None and self._by_identity.get(watched.identity) is watched:
            del self._by_identity[watched.identity]
        self._take_off(watched, watched.mark)
        watched.mark = watched.identity = None

    def _take_off(self, watched: Watched, mark: Hashable | None) -> None:
        if mark is not None:
            self._by_mark.pop(mark, None)
            self._unmark(watched, mark)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The folder at `path`, held so that its identity and its mark are the same folder's."""
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwatchable(path, error) from None
    try:
        yield folder
    finally:
        os.close(folder)


def _identity_at(path: Path) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None  # gone, as far as a mark is concerned; putting it on again tells why
    return status.st_dev, status.st_ino
