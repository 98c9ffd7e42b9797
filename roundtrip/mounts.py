"""The mount table: which mount a path is on, and whether another host's disk is behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

MOUNTINFO = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")
_LINKS = 40  # as many as the kernel follows (path_resolution(7))

# File systems that another host (or a server process) can change without this kernel's knowing.
# autofs stands for a mount that is still to come, which is a network one nearly always.
# fmt: off
_REMOTE = frozenset({
    "9p", "acfs", "afs", "auristorfs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs",
    "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs",
    "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})
# fmt: on


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), as far as it is needed here."""

    number: int
    parent: int
    point: str
    fstype: str
    source: str = ""
    options: tuple[str, ...] = ()
    """Those of the mount, then those of the file system, as the kernel writes them."""

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


def points_in(mountinfo: str, path: str) -> set[str]:
    """The names right inside the folder `path` (as for `mount_of`) on which something is mounted.

    Told without touching what is mounted there, which may hang.
    """
    found = (os.path.split(mount.point) for mount in _parse(mountinfo))
    return {name for parent, name in found if parent == path}


def below(mountinfo: str, path: str) -> list[Mount]:
    """The mounts anywhere below the folder `path` (as for `mount_of`)."""
    above = path.rstrip("/") + "/"
    return [mount for mount in _parse(mountinfo) if mount.point.startswith(above)]


def _parse(mountinfo: str) -> Iterator[Mount]:
    # Not splitlines() and split(): a mount point may hold any Unicode space or line separator; the
    # kernel escapes only ASCII space, tab, newline and backslash.
    for line in mountinfo.split("\n"):
        left, separator, right = line.partition(" - ")
        if separator:
            fields, kind = left.split(" "), right.split(" ")
            yield Mount(
                int(fields[0]),
                int(fields[1]),
                _unescape(fields[4]),
                kind[0],
                _unescape("".join(kind[1:2])),
                (*fields[5].split(","), *"".join(kind[2:3]).split(",")),
            )


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def is_remote(fstype: str) -> bool:
    """Whether changes may come from elsewhere; `fuseblk` is a local disk (ntfs-3g): no."""
    return fstype in _REMOTE or fstype.startswith(("fuse.", "nfs"))


def leads_away(mountinfo: str, path: str, readlink: Callable[[str], str] = os.readlink) -> bool:
    """Whether the file at `path` is on another host's disk, told without touching that disk.

    realpath(3) would look at every part of the path, and a mount that hangs would never answer.
    Here the table is asked about each part before anything is, so only local links are read.
    """
    left = os.path.abspath(path).split("/")[:0:-1]
    here, links = "/", 0
    while left:
        there = os.path.normpath(os.path.join(here, left.pop()))
        mount = mount_of(mountinfo, there)
        if mount is not None and is_remote(mount.fstype):
            return True
        try:
            target = readlink(there)
        except OSError:  # No link, or nothing.
            here = there
            continue
        links += 1
        if links > _LINKS:
            return False  # Whoever opens it is told so by the kernel.
        here = "/" if target.startswith("/") else here
        left.extend(part for part in reversed(target.split("/")) if part)
    return False
