"""File handles: what the kernel calls an inode by, the same as long as it lives, never given again.

An inode number is given to a new file as soon as its file is deleted; a handle has its generation
too (open_by_handle_at(2)). fanotify(7) names the folder of an event by its handle.
"""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

_MAX_HANDLE = 128  # MAX_HANDLE_SZ of linux/exportfs.h
_EMPTY_PATH = 0x1000  # AT_EMPTY_PATH of linux/fcntl.h

libc = ctypes.CDLL(None, use_errno=True)


class _FileHandle(ctypes.Structure):
    """struct file_handle of open_by_handle_at(2), with room for the largest."""

    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_char * _MAX_HANDLE),
    )


class Handle(NamedTuple):
    """A handle within its file system: the kernel's type of it, and its bytes."""

    type: int
    data: bytes


def handle_of(folder: int, name: str = "") -> Handle:
    """The handle of `name` in an open folder (a link itself), or of what is opened, if it is "".

    Raises:
        OSError: EOPNOTSUPP, EOVERFLOW: this file system has none.
    """
    found, mount = _FileHandle(handle_bytes=_MAX_HANDLE), ctypes.c_int()
    flags = 0 if name else _EMPTY_PATH
    done = libc.name_to_handle_at(
        folder, os.fsencode(name), ctypes.byref(found), ctypes.byref(mount), flags
    )
    if done < 0:
        raise _error(name)
    return Handle(found.handle_type, _bytes(found))


def _bytes(found: _FileHandle) -> bytes:
    # Not found.f_handle: ctypes ends a character array at its first zero byte.
    return ctypes.string_at(
        ctypes.addressof(found) + _FileHandle.f_handle.offset, found.handle_bytes
    )


def open_handle(mount: int, handle: Handle) -> int:
    """Open (O_PATH) the inode of a handle; `mount` is anything opened on its file system.

    Raises:
        OSError: ESTALE if it has gone, EPERM without CAP_DAC_READ_SEARCH.
    """
    wanted = _FileHandle(handle_bytes=len(handle.data), handle_type=handle.type)
    ctypes.memmove(
        ctypes.addressof(wanted) + _FileHandle.f_handle.offset, handle.data, len(handle.data)
    )
    opened: int = libc.open_by_handle_at(mount, ctypes.byref(wanted), os.O_PATH | os.O_CLOEXEC)
    if opened < 0:
        raise _error("")
    return opened


def _error(name: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), name)
