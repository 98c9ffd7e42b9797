"""Looking at an open folder and reading its files, by its descriptor; writing.py writes them.

Everything is relative to the descriptor, so that a mount that goes away or comes on top can't send
a write to another place than the one that was checked. Every function blocks until the kernel has
answered; who must not block calls it elsewhere (posix.py in threads, helper.py in a process).
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat

from roundtrip.shares.entry import Entry, Kind, NotAFile, Space

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_folder(path: str | os.PathLike[str], above: int | None = None) -> int:
    """Open a folder: by its path, or by its name in the folder of descriptor `above`."""
    # A folder inside a share may be a link that the other host has put there.
    follow = 0 if above is None else os.O_NOFOLLOW
    return os.open(path, _FOLDER | follow, dir_fd=above)


def names(opened: int) -> list[str]:
    """The names in an open folder as they are now.

    Through a descriptor of its own each time: sshfs answers every listing of one descriptor but the
    first with nothing, and then shows nothing to others either, for as long as it caches that.
    """
    anew = os.open(".", _FOLDER, dir_fd=opened)
    try:
        return os.listdir(anew)
    finally:
        os.close(anew)


def leads_to(path: str | os.PathLike[str], opened: int) -> bool:
    """Whether `path` still leads to the folder that was opened."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    here = os.fstat(opened)
    return (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)


def entry_of(found: os.stat_result) -> Entry:
    """What stat(2) found, in the port's words."""
    return Entry(_kind(found.st_mode), found.st_size, found.st_mtime_ns)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER


def look(folder: int, name: str) -> Entry | None:
    """What `name` stands for; None if it isn't there."""
    try:
        return entry_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def open_file(folder: int, name: str, label: str) -> tuple[int, os.stat_result]:
    """Open a regular file for reading, without ever blocking on anything else.

    Raises:
        NotAFile: it is something else; `label` is what the message calls the folder.
    """
    # Look before opening: opening some devices has effects, O_NONBLOCK or not.
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        opened = os.open(name, _READ, dir_fd=folder)
        found = os.fstat(opened)
        if stat.S_ISREG(found.st_mode):
            return opened, found
        os.close(opened)
    raise NotAFile(f"{label}/{name!a}: not a regular file")


def read(folder: int, name: str, limit: int, label: str) -> bytes:
    """The content of a small file, cut off one byte after `limit`."""
    opened, found = open_file(folder, name, label)
    try:
        return read_up_to(opened, min(found.st_size, limit) + 1)
    finally:
        os.close(opened)


def read_up_to(opened: int, limit: int) -> bytes:
    """Everything up to `limit` bytes; one read where the file is as long as it was said to be."""
    pieces = []
    while limit and (piece := os.read(opened, limit)):
        pieces.append(piece)
        limit -= len(piece)
        if limit <= 1:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def has_writer(opened: int) -> bool | None:
    """Ask for a read lease (fcntl(2)): the kernel refuses it while anybody could still write."""
    try:
        # A writer that comes while we hold the lease makes the kernel signal us; SIGURG, unlike the
        # default SIGIO, is ignored by default.
        fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # EAGAIN is the answer; anything else (another user's file, a file system without leases)
        # means that there is no way to ask.
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def space(folder: int) -> Space:
    """How much room there is."""
    found = os.fstatvfs(folder)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
