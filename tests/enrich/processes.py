"""This process's children: a test asks for those that it made."""

from __future__ import annotations

from tests import processes

_before: set[int] = set()


def note() -> None:
    """Those that are there now, servers of other tests say, are nobody's business."""
    _before.clear()
    _before.update(processes.children())


def children() -> set[int]:
    """The ids of the children made since `note`, zombies too."""
    return processes.children() - _before
