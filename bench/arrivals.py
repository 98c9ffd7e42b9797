"""Results as they arrive: the kernel's events of an output folder, each with its time."""

from __future__ import annotations

import os
import select
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import inotify.calls
import inotify.constants as flags
import inotify.library

HEAD = struct.Struct("iIII")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that was renamed into the folder, or closed there by its writer."""

    time: float  # time.perf_counter() when the event was read
    name: str


class Arrivals:
    """Watches one folder. Names that begin with a dot or end in `.tmp` are still being written."""

    def __init__(self, folder: Path) -> None:
        self._fd: int = inotify.library.instance.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        wanted = flags.IN_MOVED_TO | flags.IN_CLOSE_WRITE
        inotify.calls.inotify_add_watch(self._fd, os.fsencode(folder), wanted)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def wait(self, seconds: float) -> list[Arrival]:
        """Arrivals since the last call, waiting for one at most `seconds`; may be empty."""
        if not self._poll.poll(max(0.0, seconds) * 1000):
            return []
        data = os.read(self._fd, 1 << 20)
        now = time.perf_counter()
        return [Arrival(now, name) for name in _names(data)]


def _names(data: bytes) -> list[str]:
    names = []
    position = 0
    while position < len(data):
        _, mask, _, length = HEAD.unpack_from(data, position)
        if mask & flags.IN_Q_OVERFLOW:
            raise RuntimeError("the benchmark's own event queue overflowed: use fewer --files")
        start = position + HEAD.size
        name = os.fsdecode(data[start : start + length].rstrip(b"\0"))
        if name and not name.startswith(".") and not name.endswith(".tmp"):
            names.append(name)
        position = start + length
    return names
