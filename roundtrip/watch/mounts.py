"""The mount table: which mount a path is on, and a call when the table changes."""

from __future__ import annotations

import asyncio
import os
import re
import select
from collections.abc import Callable, Iterator
from typing import NamedTuple

MOUNTINFO = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), as far as it is needed here."""

    number: int
    parent: int
    point: str
    fstype: str

    def holds(self, path: str) -> bool:
        """Whether `path` is the mount point or below it."""
        return self.point == "/" or path == self.point or path.startswith(self.point + "/")


def read() -> str:
    """The mount table's text as the kernel shows it to this process."""
    with open(MOUNTINFO, "rb") as table:
        return os.fsdecode(table.read())


def mount_of(mountinfo: str, path: str) -> Mount | None:
    """The mount that `path` (absolute, without symbolic links) is on; None if no line fits.

    It goes down from mount to mount as the kernel's path walk does, so the last of several mounts
    on one point wins, and a mount below another that was hidden by a later one doesn't.
    """
    holding = [mount for mount in _parse(mountinfo) if mount.holds(path)]
    numbers = {mount.number for mount in holding}
    found: Mount | None = None
    below = [mount for mount in holding if mount.parent not in numbers - {mount.number}]
    while below:
        found = min(below, key=lambda mount: len(mount.point))
        holding.remove(found)
        below = [mount for mount in holding if mount.parent == found.number]
    return found


def _parse(mountinfo: str) -> Iterator[Mount]:
    # Not splitlines() and split(): a mount point may hold any Unicode space or line separator; the
    # kernel escapes only ASCII space, tab, newline and backslash.
    for line in mountinfo.split("\n"):
        left, separator, right = line.partition(" - ")
        if separator:
            fields = left.split(" ")
            yield Mount(int(fields[0]), int(fields[1]), _unescape(fields[4]), right.split(" ")[0])


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


class MountChanges:
    """Calls back, on the running loop, whenever something was mounted or unmounted.

    A mount placed over a watched directory sends no inotify event. The kernel flags a change of the
    mount table as EPOLLPRI on its open file (proc_pid_mounts(5)); asyncio asks for EPOLLIN only, so
    an epoll of our own stands between the two.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._table = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._table, select.EPOLLPRI)
        # Nothing has to be read: the kernel clears the flag for whoever polls first, here the loop.
        self._loop.add_reader(self._epoll.fileno(), changed)

    def close(self) -> None:
        """Stop calling back."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        os.close(self._table)
