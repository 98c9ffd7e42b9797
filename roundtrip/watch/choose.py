"""The choice between kernel events and polling, by the file system that a folder is on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from roundtrip import mounts
from roundtrip.mounts import is_remote

__all__ = ["Choice", "choose", "choose_from", "is_remote"]


class Choice(NamedTuple):
    """The backend for a folder, and one sentence that says why."""

    backend: str
    reason: str


def choose(path: Path, wanted: str = "auto") -> Choice:
    """Which backend reports the changes of the folder at `path`; `wanted`, unless it is `auto`.

    `fanotify` is a wish for where `auto` would take inotify, and where the kernel has it.
    """
    if wanted not in ("auto", "fanotify"):
        return Choice(wanted, "the configuration asks for it")
    try:
        mountinfo = mounts.read()
    except FileNotFoundError:
        return Choice("poll", f"there is no {mounts.MOUNTINFO}, so there is no inotify either")
    choice = choose_from(mountinfo, os.path.realpath(path))
    if wanted == "auto" or choice.backend == "poll":
        return choice
    return _fanotify(path)


def _fanotify(path: Path) -> Choice:
    # Not at the top: ctypes is for those who ask for it.
    from roundtrip.watch.fanotify import refusal

    reason = refusal(path)
    if reason is None:
        return Choice("fanotify", "the configuration asks for it")
    return Choice("inotify", f"the configuration asks for fanotify, but {reason}")


def choose_from(mountinfo: str, path: str) -> Choice:
    """The choice for `path` (absolute, without symbolic links) by the text of a mount table."""
    mount = mounts.mount_of(mountinfo, path)
    if mount is None:
        return Choice("inotify", "the mount table does not show what it is on")
    where = f"it is on {mount.fstype} (mounted at {mount.point})"
    if is_remote(mount.fstype):
        return Choice("poll", f"{where}, where changes made by another host send no events here")
    return Choice("inotify", f"{where}, where this kernel sees every change")
