"""A file as it is now: its identity, and whether it is complete.

The identity says whether a file is one that was handled already. It is

    <handle>:<size>:<mtime in ns>

under the file's path. The handle (open_by_handle_at(2)) is the inode with its generation, so that a
file which was deleted and made again is another one even if it got the same inode number. Size and
mtime tell of a file that was written again in place. Not in it: the device's number, which LVM,
btrfs and NFS give anew at each mount; and ctime, which chmod, a hard link or a backup change, too.
"""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple

from roundtrip.errors import UnusableMarker
from roundtrip.mounts import Mount, is_remote, mount_of, read
from roundtrip.protocol.markers import MAX_BYTES, RequestMarker
from roundtrip.protocol.names import MARKER_SUFFIX
from roundtrip.shares.files import has_writer, read_up_to
from roundtrip.watch.handles import handle_of

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_HERE = -100  # AT_FDCWD
_NUMBERED = frozenset({"nfs", "nfs4", "ceph", "virtiofs"})  # other remote ones number anew


class Found(NamedTuple):
    """A regular file that is there; `writing` is None where the kernel can't be asked."""

    identity: str
    size: int
    changed: float  # ctime, seconds since 1970: when content, name or owner changed last
    writing: bool | None


def look(path: str, *, numbered: bool) -> Found | None:
    """Look at a file; None if it isn't there, or is anything but a regular file.

    `numbered` is whether inodes of this file system are the same after it was mounted anew.

    Raises:
        OSError: nobody can tell.
    """
    try:
        # Look before opening: opening a device or a FIFO has effects.
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            opened = os.open(path, _READ)
        except PermissionError:  # The command may be allowed more than we are.
            handle = _handle(_HERE, path, found.st_ino) if numbered else ""
            return _found(found, handle, None)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            return None
        handle = _handle(opened, "", found.st_ino) if numbered else ""
        return _found(found, handle, has_writer(opened))
    finally:
        os.close(opened)


def _found(found: os.stat_result, handle: str, writing: bool | None) -> Found:
    identity = f"{handle}:{found.st_size}:{found.st_mtime_ns}"
    return Found(identity, found.st_size, found.st_ctime, writing)


def _handle(folder: int, name: str, inode: int) -> str:
    try:
        handle = handle_of(folder, name)
    except OSError:
        return f"i{inode:x}"  # A file system without handles.
    return f"{handle.type:x}.{handle.data.hex()}"


class Place:
    """What is at the watched path: the same folder as before, or a mount's bare mount point?

    Where a file system is mounted below it, that is told as well.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        mount = self._mount()
        fstype = mount.fstype if mount is not None else ""
        self.numbered = not is_remote(fstype) or fstype in _NUMBERED
        """Whether inodes are the same after the file system was mounted anew."""

    def now(self, rel: str = "") -> str:
        """What is there now, and what is mounted below, where `rel` is; "" if nothing is."""
        try:
            top = os.stat(self._top)
            numbered = self.numbered
            here = _handle(_HERE, self._top, top.st_ino) if numbered else _named(self._mount())
        except OSError:
            return ""
        return here + self._below(os.path.dirname(rel), top.st_dev)

    def _below(self, folder: str, device: int) -> str:
        try:
            if not folder or os.stat(os.path.join(self._top, folder)).st_dev == device:
                return ""
        except OSError:
            return ""
        return f" {_named(self._mount(folder))}"

    def _mount(self, folder: str = "") -> Mount | None:
        try:
            return mount_of(read(), os.path.realpath(os.path.join(self._top, folder)))
        except FileNotFoundError:
            return None


def _named(mount: Mount | None) -> str:
    return f"{mount.fstype} {mount.source}" if mount is not None else ""


class NotYet(Exception):
    """A file is not complete; the text says why."""


def check_marker(path: str, *, digest: bool) -> None:
    """Check a file against `<path>.done`, where that says what to check; `digest` reads all of it.

    Raises:
        NotYet: there is no marker, it can't be read as one, or the file is not what it says.
        OSError: nobody can tell.
    """
    name = os.path.basename(path)
    try:
        marker = RequestMarker.decode(_content(path + MARKER_SUFFIX), name)
    except FileNotFoundError:
        raise NotYet("") from None
    except UnusableMarker as error:
        raise NotYet(f"{name}{MARKER_SUFFIX}: {error}") from None
    if marker.digest is None:
        return
    size = os.stat(path).st_size
    if size != marker.digest.size:
        raise NotYet(f"it has {size} bytes, its marker says {marker.digest.size}")
    if digest and _sha256(path) != marker.digest.sha256:
        raise NotYet("its SHA-256 is not the one that its marker says")


def _content(path: str) -> bytes:
    opened = os.open(path, _READ)
    try:
        return read_up_to(opened, MAX_BYTES + 1)
    finally:
        os.close(opened)


def _sha256(path: str) -> str:
    import hashlib

    with open(os.open(path, _READ), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def age(found: Found) -> float:
    """Seconds since the file changed last, by this host's clock; 0 if that is in the future."""
    return max(0.0, time.time() - found.changed)
