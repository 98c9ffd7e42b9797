"""Wake-ups from the kernel by inotify(7): a non-blocking reader that survives replaced folders.

Only the package's low-level calls are used; its adapters lose overflows and undecodable names.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Hashable
from contextlib import suppress

import inotify.calls as calls
import inotify.constants as bits
import inotify.library as library

from roundtrip.watch.kernel import KernelWatcher, Troubled, Watched
from roundtrip.watch.port import Event, Kind, NoRoom, unwatchable

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


class InotifyWatcher(KernelWatcher):
    """A watcher by inotify; a mark is the kernel's watch descriptor, a number given out once."""

    backend = "inotify"

    def _open(self) -> int:
        fd: int = library.instance.inotify_init1(bits.IN_NONBLOCK | bits.IN_CLOEXEC)
        if fd >= 0:
            return fd
        raise self._no_instance(ctypes.get_errno())

    @staticmethod
    def _no_instance(code: int) -> NoRoom:
        advice = (
            "; close some, or raise: sysctl fs.inotify.max_user_instances=1024, ulimit -n 65536"
        )
        return NoRoom(
            "the kernel gives no inotify instance: "
            + os.strerror(code)
            + (advice if code == errno.EMFILE else "")
        )

    def _wanted(self, kinds: frozenset[Kind]) -> tuple[int, dict[int, Kind]]:
        meaning = {mask: kind for mask, kind in _MEANING.items() if kind in kinds}
        mask = _ALWAYS
        for wanted in meaning:
            mask |= wanted & bits.IN_ALL_EVENTS
        return mask, meaning

    def _mark(self, watched: Watched, opened: int) -> Hashable:
        try:
            wd: int = calls.inotify_add_watch(
                self._fd, f"/proc/self/fd/{opened}".encode(), watched.mask
            )
        except calls.InotifyError as error:
            raise unwatchable(watched.path, OSError(error.errno, error.errmsg)) from None
        return wd

    def _unmark(self, watched: Watched, mark: Hashable) -> None:
        with suppress(calls.InotifyError):  # EINVAL: it went with its folder
            calls.inotify_rm_watch(self._fd, mark)

    def _parse(self, buffer: bytes) -> tuple[list[Event], Troubled]:
        events: list[Event] = []
        troubled: Troubled = {}
        watches, header, decode = self._by_mark, _HEADER.unpack_from, os.fsdecode
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
                troubled.update(self._overflowed())
            elif watched is not None and mask & _TROUBLE:
                del watches[wd]  # what else this watch says is about a folder that is elsewhere
                troubled[watched] = None
        return events, troubled
