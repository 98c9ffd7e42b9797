"""A FUSE file system for tests: passes everything on to a folder, but for the faults it is told of.

    python -m tests.mounts.shaky_fs BACKING MOUNT_POINT SOCKET

A process of its own, so that SIGSTOP makes a mount that hangs and SIGKILL one whose "transport
endpoint is not connected". Faults are given over the socket, one JSON object a connection; see
`Fault`, and `tests.mounts.shaky.ShakyMount`, which is the other end. Like sshfs it refuses the
flags of renameat2(2) with EINVAL.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import mfusepy

_STAT = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
_TIMES = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")
_STATFS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files",
           "f_flag", "f_frsize", "f_namemax")  # fmt: skip


@dataclass(slots=True)
class Fault:
    """What happens to calls of `op` (or `*`) whose path contains the regular expression `match`.

    The first `skip` such calls are left alone, then `times` are hit (0: all). `delay` is in seconds
    and comes first. With `error` (an errno's name) the call fails; with `after`, once it has had
    its effect: the reply is lost. With `lose`, a write is reported as done, but what lies there is
    NUL bytes, as with an NFS client whose buffered writes failed.
    """

    op: str
    error: str = ""
    after: bool = False
    match: str = ""
    skip: int = 0
    times: int = 0
    delay: float = 0.0
    lose: bool = False
    hits: int = 0

    def concerns(self, op: str, path: str) -> bool:
        """Whether this call is one to hit; counts."""
        if self.op not in (op, "*") or not re.search(self.match, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class Faults:
    """The faults that hold now, and how often each call was made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._cleared = threading.Event()
        self.calls: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        """One more, from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """None from now on; calls that are being delayed go on."""
        with self._lock:
            self._faults.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def state(self) -> dict[str, Any]:
        """What a controller may want to know."""
        with self._lock:
            return {"calls": self.calls, "faults": [asdict(fault) for fault in self._faults]}

    @contextmanager
    def around(self, op: str, *paths: str) -> Iterator[Fault | None]:
        """Run one call under the first fault that concerns it."""
        with self._lock:
            self.calls[op] += 1
            hit = next((f for f in self._faults if any(f.concerns(op, p) for p in paths)), None)
            cleared = self._cleared
        if hit is not None and hit.delay:
            cleared.wait(hit.delay)
        if hit is not None and hit.error and not hit.after:
            raise _os_error(hit.error)
        yield hit
        if hit is not None and hit.error and hit.after:
            raise _os_error(hit.error)


def _os_error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


class ShakyFs(mfusepy.Operations):
    """The backing folder's calls, each through `Faults.around`."""

    use_ns = True

    def __init__(self, backing: str, faults: Faults) -> None:
        self._root = os.open(backing, os.O_RDONLY | os.O_DIRECTORY)
        self._around = faults.around

    def _at(self, path: str) -> str:
        return path.lstrip("/") or "."

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with self._around("getattr", path):
            found = os.stat(self._at(path), dir_fd=self._root, follow_symlinks=False)
            times = {key.removesuffix("_ns"): getattr(found, key) for key in _TIMES}
            return {key: getattr(found, key) for key in _STAT} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        with self._around("readdir", path):
            opened = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._root)
            try:
                return [".", "..", *os.listdir(opened)]
            finally:
                os.close(opened)

    def statfs(self, path: str) -> dict[str, int]:
        with self._around("statfs", path):
            found = os.fstatvfs(self._root)
            return {key: getattr(found, key) for key in _STATFS}

    def open(self, path: str, flags: int) -> int:
        with self._around("open", path):
            return os.open(self._at(path), flags, dir_fd=self._root)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        with self._around("create", path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            return os.open(self._at(path), flags, mode, dir_fd=self._root)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        with self._around("read", path):
            return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        with self._around("write", path) as fault:
            content = bytes(len(data)) if fault is not None and fault.lose else data
            return os.pwrite(fh, content, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with self._around("truncate", path):
            opened = os.open(self._at(path), os.O_WRONLY, dir_fd=self._root)
            try:
                os.ftruncate(opened, length)
            finally:
                os.close(opened)
        return 0

    def flush(self, path: str, fh: int) -> int:
        """Called at every close(2)."""
        with self._around("flush", path):
            return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        with self._around("fsync", path):
            os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        with self._around("fsyncdir", path):
            return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def rename(self, old: str, new: str) -> int:
        with self._around("rename", old, new):
            os.rename(self._at(old), self._at(new), src_dir_fd=self._root, dst_dir_fd=self._root)
        return 0

    def unlink(self, path: str) -> int:
        with self._around("unlink", path):
            os.unlink(self._at(path), dir_fd=self._root)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        with self._around("mkdir", path):
            os.mkdir(self._at(path), mode, dir_fd=self._root)
        return 0

    def rmdir(self, path: str) -> int:
        with self._around("rmdir", path):
            os.rmdir(self._at(path), dir_fd=self._root)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        with self._around("chmod", path):
            os.chmod(self._at(path), mode, dir_fd=self._root)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        with self._around("utimens", path):
            os.utime(self._at(path), ns=times or (time.time_ns(),) * 2, dir_fd=self._root)
        return 0


class _Mounted(mfusepy.FUSE):
    """The library drops the flags of a rename, which would replace where it must not."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        result: int = super().rename_fuse_3(old, new, flags)
        return result


def _obey(server: socket.socket, faults: Faults) -> None:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            told = json.loads(stream.readline())
            if "fault" in told:
                faults.add(Fault(**told["fault"]))
            if told.get("clear"):
                faults.clear()
            stream.write(json.dumps(faults.state()) + "\n")


def main(backing: str, point: str, control: str) -> None:
    """Mount, and serve until it is unmounted."""
    faults = Faults()
    server = socket.socket(socket.AF_UNIX)
    server.bind(control)
    server.listen()
    threading.Thread(target=_obey, args=(server, faults), daemon=True).start()
    options = {"attr_timeout": 0.0, "entry_timeout": 0.0, "negative_timeout": 0.0}
    _Mounted(
        ShakyFs(backing, faults), point, foreground=True, allow_other=True, hard_remove=True,
        fsname="shaky", subtype="shaky", default_permissions=True, **options,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
