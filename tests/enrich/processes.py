"""This process's children: a test asks for those that it made."""

from __future__ import annotations

from pathlib import Path

_before: set[int] = set()


def note() -> None:
    """Those that are there now, servers of other tests say, are nobody's business."""
    _before.clear()
    _before.update(_all())


def children() -> set[int]:
    """The ids of the children made since `note`, zombies too."""
    return _all() - _before


def _all() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found
