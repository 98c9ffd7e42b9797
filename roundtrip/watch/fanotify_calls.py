"""fanotify(7) by ctypes: the calls, the numbers of linux/fanotify.h, and events as they are read.

No library: pyfanotify forks a relay process, always needs CAP_SYS_ADMIN and never handles a queue
that overflowed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import NamedTuple

from roundtrip.watch.handles import Handle, libc

_CLOEXEC, _NONBLOCK = 0x1, 0x2  # FAN_CLOEXEC, FAN_NONBLOCK; FAN_CLASS_NOTIF is 0
_REPORT_DFID_NAME = 0x400 | 0x800  # FAN_REPORT_DIR_FID | FAN_REPORT_NAME
_ADD, _REMOVE, _ONLYDIR, _FLUSH, _FILESYSTEM = 0x1, 0x2, 0x8, 0x80, 0x100  # FAN_MARK_*
_HERE = -100  # AT_FDCWD
_METADATA = struct.Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
_VERSION = 3  # FANOTIFY_METADATA_VERSION
_INFO = struct.Struct("=BBHIIIi")  # info_type, pad, len, fsid[2], handle_bytes, handle_type
_DFID_NAME = 2  # FAN_EVENT_INFO_TYPE_DFID_NAME

libc.fanotify_mark.argtypes = (
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
)


class Bit(IntFlag):
    """What can be asked for and reported (fanotify_mark(2))."""

    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    Q_OVERFLOW = 0x4000
    EVENT_ON_CHILD = 0x08000000
    ONDIR = 0x40000000


class Place(NamedTuple):
    """A folder as events name it: its file system's id (statfs(2)), and its handle there."""

    fsid: int
    handle: Handle


class Told(NamedTuple):
    """One event: `place` is None for a queue that overflowed; a folder's own name is `.`."""

    mask: int
    place: Place | None
    name: bytes


def init() -> int:
    """A new group: non-blocking, closed on exec, events name folder and file.

    This is what Linux gives to everybody since 5.13 (fanotify_init(2)).

    Raises:
        OSError: EMFILE: no group or descriptor left; EPERM, EINVAL, ENOSYS: this kernel does not.
    """
    fd: int = libc.fanotify_init(_CLOEXEC | _NONBLOCK | _REPORT_DFID_NAME, os.O_RDONLY)
    if fd < 0:
        raise _error()
    return fd


def mark(group: int, mask: int, opened: int, *, filesystem: bool = False) -> None:
    """Ask for events of an open folder (O_PATH), or of the whole file system that it is on.

    Raises:
        OSError: ENOSPC: no mark left; EOPNOTSUPP, ENODEV, EXDEV: not of this file system; EPERM.
    """
    scope = _FILESYSTEM if filesystem else _ONLYDIR
    # Not by the descriptor itself: fanotify_mark(2) takes none that was opened with O_PATH.
    _call(group, _ADD | scope, mask, f"/proc/self/fd/{opened}".encode())


def unmark(group: int, mask: int, opened: int) -> None:
    """Ask no more for events of an open folder; raises OSError."""
    _call(group, _REMOVE | _ONLYDIR, mask, f"/proc/self/fd/{opened}".encode())


def flush(group: int) -> None:
    """Take all marks off that are on folders; raises OSError."""
    _call(group, _FLUSH, 0, b"/")


def _call(group: int, flags: int, mask: int, path: bytes) -> None:
    if libc.fanotify_mark(group, flags, mask, _HERE, path) < 0:
        raise _error()


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def fsid_of(opened: int) -> int:
    """The id of the file system that something opened is on, as events tell it."""
    return os.fstatvfs(opened).f_fsid


def events(buffer: bytes) -> Iterator[Told]:
    """The events in what was read from a group.

    Raises:
        OSError: the kernel speaks another version of this.
    """
    at, end = 0, len(buffer)
    while at < end:
        length, version, _, header, mask, _, _ = _METADATA.unpack_from(buffer, at)
        if version != _VERSION:
            raise OSError(errno.EPROTO, f"fanotify events of version {version}, not {_VERSION}")
        yield _told(mask, buffer, at + header, at + length)
        at += length


def _told(mask: int, buffer: bytes, at: int, end: int) -> Told:
    while at < end:
        kind, _, length, first, second, size, handle_type = _INFO.unpack_from(buffer, at)
        if kind == _DFID_NAME:
            start = at + _INFO.size
            name = start + size
            place = Place(first | second << 32, Handle(handle_type, buffer[start:name]))
            return Told(mask, place, buffer[name : at + length].rstrip(b"\0"))
        at += length
    return Told(mask, None, b"")
