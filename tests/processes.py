"""Which processes another one has started, as the kernel tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def children(pid: int | str = "self") -> set[int]:
    """The ids of a process's children, zombies too, whichever of its threads made them.

    A process or a thread that ends meanwhile has none (proc_tid_children(5)).
    """
    found: set[int] = set()
    for thread in _threads(pid):
        # ESRCH is what reading tells of a thread that ended after it was opened.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(map(int, (thread / "children").read_text().split()))
    return found


def family(pid: int) -> Iterator[int]:
    """A process, its children, theirs, and so on."""
    yield pid
    for child in children(pid):
        yield from family(child)


def lives(pid: int | str) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def command_line(pid: int) -> bytes:
    """A process's arguments, each followed by a zero byte; empty once it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def inotify_watches(pid: int) -> int:
    """How many watches a process holds (proc_pid_fdinfo(5)); it may close files meanwhile."""
    found = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for info in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += info.read_text().count("inotify wd:")
    return found


def _threads(pid: int | str) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []
