"""A call when the mount table changes; what it says is read by roundtrip.mounts."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

from roundtrip.mounts import MOUNTINFO, Mount, mount_of, points_in, read

__all__ = ["MOUNTINFO", "Mount", "MountChanges", "mount_of", "points_in", "read"]


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
