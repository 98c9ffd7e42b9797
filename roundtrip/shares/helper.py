"""The process that works on a mounted share, so that a mount that hangs stops nobody else.

    python -m roundtrip.shares.helper DESCRIPTOR PARENT

A thread that is stuck in the kernel can't be ended, a process can be given up. Each of the threads
takes a request from the socket, makes the calls, and answers; the kernel hands each request to one
thread that waits. The process ends with its socket or with its parent, whose process id is PARENT.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from roundtrip.shares import files, wire, writing
from roundtrip.shares.entry import NotAFile
from roundtrip.shares.seal import Seal
from roundtrip.shares.verdicts import is_of_own_disk, operation_of
from roundtrip.shares.wire import Answer

THREADS = 8
FIRST_STEP = 1024 * 1024
"""How many bytes a long copy moves before it says for the first time that it goes on."""

_LARGEST_STEP = 32 * FIRST_STEP
_SMALLEST_STEP = FIRST_STEP // 8
_STEP_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STACK = 512 * 1024


class _Cancelled(Exception):
    """Nobody waits for this copy any more."""


class Mounted:
    """The share as this process has opened it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._path = ""
        self._folders = [-1, -1]
        self._seal: Seal | None = None
        self._cancelled: set[int] = set()

    def answer(self, request: tuple[Any, ...], descriptor: int | None) -> None:
        """Do what a request asks for, and answer it."""
        number, operation, *arguments = request
        if operation == "cancel":  # Has no answer of its own.
            self._cancelled.add(arguments[0])
            return
        if operation == "put":
            arguments = [number, descriptor, *arguments]
        try:
            body = getattr(self, f"do_{operation}")(*arguments)
        except _Cancelled:
            gone = (errno.ECANCELED, os.strerror(errno.ECANCELED), None, None, False)
            wire.send(self._end, (number, Answer.ERROR.value, *gone))
        except (NotAFile, OSError) as error:
            wire.send(self._end, (number, Answer.ERROR.value, *_told(error)))
        except Exception as error:
            wire.send(self._end, (number, Answer.DEFECT.value, f"{type(error).__name__}: {error}"))
        else:
            self._send_body(number, body)
        finally:
            self._cancelled.discard(number)

    def _send_body(self, number: int, body: object) -> None:
        if not isinstance(body, bytes):
            wire.send(self._end, (number, Answer.DONE.value, body))
            return
        with wire.packed(body) as (packed, descriptors):
            wire.send(self._end, (number, Answer.DONE.value, packed), descriptors)

    def do_open(self, path: str, internal: str, identity: str) -> tuple[bytes | None]:
        """Open the share; returns what its identity file says, None if there is none."""
        self._path = path
        share = self._folders[0] = files.open_folder(path)
        self._seal = Seal(share, path, f"{internal}/{identity}")
        if self._seal.content is not None:
            self._folders[1] = files.open_folder(internal, share)
        return (self._seal.content,)

    def do_is_current(self) -> bool:
        return files.leads_to(self._path, self._folders[0])

    def do_names(self, folder: int) -> bytes:
        return b"\0".join(map(os.fsencode, files.names(self._folders[folder])))

    def do_stat(self, folder: int, name: str) -> tuple[str, int, int] | None:
        found = files.look(self._folders[folder], name)
        return found and (found.kind.value, found.size, found.changed)

    def do_read(self, folder: int, name: str, limit: int, label: str) -> bytes:
        return files.read(self._folders[folder], name, limit, label)

    def do_remove(self, folder: int, name: str) -> bool:
        return writing.remove(self._folders[folder], name)

    def do_space(self, folder: int) -> tuple[int, int]:
        found = files.space(self._folders[folder])
        return found.free, found.total

    def do_put(
        self,
        number: int,
        descriptor: int | None,
        folder: int,
        part: str,
        name: str,
        durable: bool,
        content: bytes | tuple[int, int],
    ) -> tuple[int, str] | None:
        """`content` is the bytes, or where they are in the file of `descriptor`."""
        assert self._seal is not None
        self._seal.check()
        target = self._folders[folder]
        if isinstance(content, bytes):
            writing.put_bytes(target, part, name, content, durable=durable)
            return None  # The other end knows what it sent.
        assert descriptor is not None
        pieces = writing.pieces_at(descriptor, *content)
        between = Steps(self._going_on(number))
        return writing.put(target, part, name, pieces, durable=durable, between=between)

    def _going_on(self, number: int) -> Callable[[int], None]:
        def tell(step: int) -> None:
            if number in self._cancelled:
                raise _Cancelled
            if step:
                wire.send(self._end, (number, Answer.GOING_ON.value, step))

        return tell


class Steps:
    """Cuts a copy into steps of about a second, each of which reaches the server before the next.

    Otherwise the kernel would take everything into memory, and closing the file would last for
    minutes without a sign of life. `tell` is called between chunks, with the bytes of the next step
    where one begins, else 0.
    """

    def __init__(
        self, tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._done = 0
        self._step = FIRST_STEP

    def __call__(self, opened: int, size: int) -> None:
        """A `writing.Between`."""
        if size - self._done <= self._step:  # Not for the end: closing flushes that.
            self._tell(0)
            return
        os.fdatasync(opened)
        now = self._clock()
        self._step = next_step(self._step, now - self._began)
        self._began, self._done = now, size
        self._tell(self._step)


def next_step(step: int, seconds: float) -> int:
    """How many bytes the next step should have, if this one took so long."""
    if seconds < _STEP_SECONDS / 2:
        return min(step * 2, _LARGEST_STEP)
    if seconds > _STEP_SECONDS * 2:
        return max(step // 2, _SMALLEST_STEP)
    return step


def _told(error: OSError | NotAFile) -> tuple[object, ...]:
    """An error in a form that can be sent."""
    if isinstance(error, NotAFile):
        return (None, str(error), None, None, False)
    name = error.filename if isinstance(error.filename, str) else None
    words = error.strerror or str(error)
    return (error.errno, words, name, operation_of(error).value, is_of_own_disk(error))


def _work(end: socket.socket, mounted: Mounted) -> None:
    try:
        while True:
            request, descriptor = wire.receive(end)
            try:
                mounted.answer(request, descriptor)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
    except wire.Closed:
        os._exit(0)  # Other threads may be stuck.


def _stay_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It ended before that.
        os._exit(0)
    # A service manager sends these to all processes of a service; the agent has work to finish, and
    # ends this one when it has.
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


def main(descriptor: int, parent: int) -> None:
    """Serve requests until the other end closes."""
    _stay_with(parent)
    end = socket.socket(fileno=descriptor)
    mounted = Mounted(end)
    wire.send(end, (0, Answer.DONE.value, os.getpid()))
    threading.stack_size(_STACK)
    for _ in range(THREADS - 1):
        threading.Thread(target=_work, args=(end, mounted), daemon=True).start()
    _work(end, mounted)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
