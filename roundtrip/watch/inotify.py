"""Wake-ups from the kernel: a non-blocking inotify reader that survives replaced folders.

Only the package's low-level calls are used; its adapters lose overflows and undecodable names.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import inotify.calls as calls
import inotify.constants as bits
import inotify.library as library

from roundtrip.errors import ShareError
from roundtrip.watch.mounts import MountChanges
from roundtrip.watch.port import Deliver, Event, Kind, NoRoom, unwatchable

logger = logging.getLogger("roundtrip.watch")

READ_SIZE = 64 * 1024
FIRST_RETRY = 0.05
LAST_RETRY = 2.0
"""Seconds between the first, and at most between two later looks for a folder that is gone."""

_HEADER = struct.Struct("iIII")  # struct inotify_event of inotify(7): wd, mask, cookie, len
_EXCL_UNLINK = 0x04000000  # inotify(7): no late CLOSE_WRITE for a name that is gone; not in `bits`
_ALWAYS = bits.IN_ONLYDIR | _EXCL_UNLINK | bits.IN_DELETE_SELF | bits.IN_MOVE_SELF
_MEANING = {
    bits.IN_MOVED_TO: Kind.APPEARED,
    bits.IN_CREATE: Kind.CREATED,
    bits.IN_CLOSE_WRITE: Kind.CLOSED,
    bits.IN_DELETE: Kind.REMOVED,
    bits.IN_MOVED_FROM: Kind.REMOVED,
    bits.IN_DELETE | bits.IN_ISDIR: Kind.REMOVED,
    bits.IN_MOVED_FROM | bits.IN_ISDIR: Kind.REMOVED,
    bits.IN_CREATE | bits.IN_ISDIR: Kind.FOLDER,
    bits.IN_MOVED_TO | bits.IN_ISDIR: Kind.FOLDER,
}
_TROUBLE = bits.IN_IGNORED | bits.IN_UNMOUNT | bits.IN_DELETE_SELF | bits.IN_MOVE_SELF

Identity = tuple[int, int]
"""st_dev and st_ino of a folder."""


@dataclass(slots=True, eq=False)
class _Watched:
    """A folder that was added, and the kernel's watch on it (`wd` is None while it is gone)."""

    folder: str
    path: Path
    mask: int
    meaning: dict[int, Kind]
    wd: int | None = None
    identity: Identity | None = None
    delay: float = FIRST_RETRY
    retry: asyncio.TimerHandle | None = None


class InotifyWatcher:
    """A watcher for folders whose every change goes through this kernel.

    `on_full` is told of a folder that had a watch and can't get it again for want of room; it is
    watched no more then. `on_mount` is called when the mount table has changed, `check` if None.

    Raises:
        NoRoom: this user or process has no inotify instance left.
    """

    backend = "inotify"

    def __init__(
        self,
        deliver: Deliver,
        on_full: Callable[[str, NoRoom], None] | None = None,
        on_mount: Callable[[], None] | None = None,
    ) -> None:
        self._deliver = deliver
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._by_folder: dict[str, _Watched] = {}
        # Only living watches are in here. The kernel gives a number out once, so whatever comes
        # late for a watch that was taken off finds nobody.
        self._by_wd: dict[int, _Watched] = {}
        self._fd = _open()
        try:
            self._mounts = MountChanges(on_mount or self.check)
        except OSError as error:  # It needs two descriptors more.
            os.close(self._fd)
            raise _no_instance(error.errno or 0) from error
        self._loop.add_reader(self._fd, self._read)

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """See `Watcher.add`."""
        if folder in self._by_folder:
            raise ShareError(f"{path} can't be watched: {folder!r} is watched already")
        meaning = {mask: kind for mask, kind in _MEANING.items() if kind in kinds}
        mask = _ALWAYS
        for wanted in meaning:
            mask |= wanted & bits.IN_ALL_EVENTS
        watched = _Watched(folder, path, mask, meaning)
        self._put_on(watched)
        self._by_folder[folder] = watched

    def remove(self, folder: str) -> None:
        """See `Watcher.remove`."""
        watched = self._by_folder.pop(folder, None)
        if watched is None:
            return
        self._take_off(watched.wd)
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
        for folder in list(self._by_folder):
            self.remove(folder)
        self._mounts.close()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    # From the kernel to deliver()

    def _read(self) -> None:
        try:
            buffer = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return  # remove() flushed what had woken us
        events, troubled = self._parse(buffer)
        self._report(troubled, events)

    def _parse(self, buffer: bytes) -> tuple[list[Event], dict[_Watched, None]]:
        """The events in what was read, and the folders whose watch must be put on again."""
        events: list[Event] = []
        troubled: dict[_Watched, None] = {}
        watches, header, decode = self._by_wd, _HEADER.unpack_from, os.fsdecode
        at, end = 0, len(buffer)
        while at < end:
            wd, mask, _, length = header(buffer, at)
            start = at + 16
            at = start + length
            watched = watches.get(wd)
            if watched is not None and (kind := watched.meaning.get(mask)) is not None:
                name = decode(buffer[start:at].rstrip(b"\0"))
                events.append(Event(watched.folder, name, kind))
            elif mask & bits.IN_Q_OVERFLOW:
                # All of them, whatever they look like: an IN_IGNORED may be among what was lost,
                # and a folder made again often has the inode number of the one deleted.
                troubled.update(dict.fromkeys(self._by_folder.values()))
                logger.warning("events lost", extra={"reason": "the kernel's queue was full"})
            elif watched is not None and mask & _TROUBLE:
                del watches[wd]  # what else this watch says is about a folder that is elsewhere
                troubled[watched] = None
        return events, troubled

    # Keeping the watch on the path

    def _put_again(self, troubled: Iterable[_Watched]) -> None:
        self._report(troubled, [])

    def _report(self, troubled: Iterable[_Watched], events: list[Event]) -> None:
        troubles = [event for watched in list(troubled) for event in self._renew(watched)]
        if troubles or events:
            self._deliver(troubles + events)

    def _renew(self, watched: _Watched) -> Iterator[Event]:
        """Put the watch on the folder that is at the path now, and say what that means."""
        before = watched.wd
        try:
            self._put_on(watched)
        except ShareError as error:
            if isinstance(error, NoRoom) and self._on_full is not None:
                self.remove(watched.folder)
                self._on_full(watched.folder, error)
            else:
                yield from self._lose(watched, str(error))
            return
        if before != watched.wd:
            self._take_off(before)
            logger.info("watching again", extra={"folder": watched.folder})
        if watched.retry is not None:
            watched.retry.cancel()
        watched.retry, watched.delay = None, FIRST_RETRY
        yield Event(watched.folder, "", Kind.RESCAN)

    def _lose(self, watched: _Watched, reason: str) -> Iterator[Event]:
        """Look again later; say that the folder is gone if it was there before."""
        if watched.retry is None:
            logger.warning("watch lost", extra={"folder": watched.folder, "reason": reason})
            yield Event(watched.folder, "", Kind.GONE)
        else:
            watched.retry.cancel()
        self._take_off(watched.wd)
        watched.wd = watched.identity = None
        watched.retry = self._loop.call_later(watched.delay, self._put_again, [watched])
        watched.delay = min(watched.delay * 2, LAST_RETRY)

    def _put_on(self, watched: _Watched) -> None:
        """Ask the kernel for a watch on what is at the path now."""
        with _opened(watched.path) as folder:
            status = os.fstat(folder)
            identity = status.st_dev, status.st_ino
            self._refuse_twice(watched, identity)
            wd = _add_watch(self._fd, f"/proc/self/fd/{folder}", watched)
        watched.wd, watched.identity = wd, identity
        self._by_wd[wd] = watched

    def _refuse_twice(self, watched: _Watched, identity: Identity) -> None:
        # The kernel has one watch for a folder; a second add would replace the mask of the first.
        for other in self._by_folder.values():
            if other is not watched and other.identity == identity and other.wd in self._by_wd:
                raise ShareError(
                    f"{watched.path} can't be watched: it is the same folder as {other.path}"
                )

    def _take_off(self, wd: int | None) -> None:
        if wd is None:
            return
        self._by_wd.pop(wd, None)
        with suppress(calls.InotifyError):  # EINVAL: it went with its folder
            calls.inotify_rm_watch(self._fd, wd)


def _open() -> int:
    fd: int = library.instance.inotify_init1(bits.IN_NONBLOCK | bits.IN_CLOEXEC)
    if fd >= 0:
        return fd
    raise _no_instance(ctypes.get_errno())


def _no_instance(code: int) -> NoRoom:
    advice = "; close some, or raise: sysctl fs.inotify.max_user_instances=1024, ulimit -n 65536"
    return NoRoom(
        "the kernel gives no inotify instance: "
        + os.strerror(code)
        + (advice if code == errno.EMFILE else "")
    )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The folder at `path`, held so that its identity and its watch are the same folder's."""
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unwatchable(path, error) from None
    try:
        yield folder
    finally:
        os.close(folder)


def _add_watch(fd: int, name: str, watched: _Watched) -> int:
    try:
        wd: int = calls.inotify_add_watch(fd, name.encode(), watched.mask)
    except calls.InotifyError as error:
        raise unwatchable(watched.path, OSError(error.errno, error.errmsg)) from None
    return wd


def _identity_at(path: Path) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None  # gone, as far as a watch is concerned; putting it on again tells why
    return status.st_dev, status.st_ino
