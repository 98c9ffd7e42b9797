"""A file system that takes requests and answers none: a mount that hangs as the kernel sees it.

It speaks just enough of the FUSE protocol (fuse(4)) to be mounted. Whoever touches it waits in the
kernel, deaf even to SIGKILL, until `let_go` ends the file system.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from pathlib import Path

_MNT_DETACH = 2  # umount2(2)
_INIT = 26
_HEADER = struct.Struct("=IIQQIIII")  # struct fuse_in_header
_REPLY = struct.Struct("=IiQ")  # struct fuse_out_header
_INIT_REPLY = struct.Struct("=IIIIHHI")  # the beginning of struct fuse_init_out
_INIT_SIZE = 64
_libc = ctypes.CDLL(None, use_errno=True)


class Stuck:
    """The file system, mounted at `path`; `touched` is set when somebody hangs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.touched = threading.Event()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        self._check(_libc.mount(b"stuck", bytes(path), b"fuse.stuck", 0, options.encode()))
        self._answer_init()
        self._ending = threading.Event()
        self._reader = threading.Thread(target=self._take, daemon=True)
        self._reader.start()

    def _check(self, result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _answer_init(self) -> None:
        request = os.read(self._device, 1 << 17)
        _, opcode, unique, *_ = _HEADER.unpack_from(request)
        assert opcode == _INIT
        body = _INIT_REPLY.pack(7, 31, 0, 0, 16, 12, 4096).ljust(_INIT_SIZE, b"\0")
        os.write(self._device, _REPLY.pack(_REPLY.size + len(body), 0, unique) + body)

    def _take(self) -> None:
        while not self._ending.is_set():
            if select.select([self._device], [], [], 0.05)[0]:
                os.read(self._device, 1 << 17)
                self.touched.set()

    def let_go(self) -> None:
        """End the file system: every call that hangs fails."""
        if self._device < 0:
            return
        self._ending.set()
        self._reader.join()
        os.close(self._device)  # The last descriptor: the kernel ends the connection.
        self._device = -1
        self._check(_libc.umount2(bytes(self.path), _MNT_DETACH))
