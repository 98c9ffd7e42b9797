"""The choice between kernel events and polling, by the file system that a folder is on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from roundtrip.watch import mounts

# File systems that another host (or a server process) can change without this kernel's knowing.
# autofs stands for a mount that is still to come, which is a network one nearly always.
# fmt: off
_REMOTE = frozenset({
    "9p", "acfs", "afs", "auristorfs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs",
    "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs",
    "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})
# fmt: on


class Choice(NamedTuple):
    """The backend for a folder, and one sentence that says why."""

    backend: str
    reason: str


def choose(path: Path, wanted: str = "auto") -> Choice:
    """Which backend reports the changes of the folder at `path`; `wanted`, unless it is `auto`."""
    if wanted != "auto":
        return Choice(wanted, "the configuration asks for it")
    try:
        mountinfo = mounts.read()
    except FileNotFoundError:
        return Choice("poll", f"there is no {mounts.MOUNTINFO}, so there is no inotify either")
    return choose_from(mountinfo, os.path.realpath(path))


def choose_from(mountinfo: str, path: str) -> Choice:
    """The choice for `path` (absolute, without symbolic links) by the text of a mount table."""
    mount = mounts.mount_of(mountinfo, path)
    if mount is None:
        return Choice("inotify", "the mount table does not show what it is on")
    where = f"it is on {mount.fstype} (mounted at {mount.point})"
    if is_remote(mount.fstype):
        return Choice("poll", f"{where}, where changes made by another host send no events here")
    return Choice("inotify", f"{where}, where this kernel sees every change")


def is_remote(fstype: str) -> bool:
    """Whether changes may come from elsewhere; `fuseblk` is a local disk (ntfs-3g): no."""
    return fstype in _REMOTE or fstype.startswith(("fuse.", "nfs"))
