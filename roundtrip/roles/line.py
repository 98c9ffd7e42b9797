"""The line of those that wait for room on one disk: who fits, and who needs the least."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class Parked(Exception):
    """What was to be done waits; whoever raised this wakes it again."""


class Waiting(NamedTuple):
    """Who waits for room: for `need` bytes, of which `floor` more must stay free."""

    need: int
    floor: int
    wake: Callable[[str], None]

    @property
    def level(self) -> int:
        """How many bytes must be free for it."""
        return self.need + self.floor


_NOBODY = Waiting(2**63, 2**63, lambda name: None)


def fitting(waiting: Mapping[str, Waiting], free: int) -> list[str]:
    """Those that fit one after the other into `free` bytes, in the order of their names.

    One that doesn't fit is passed over: it would hold up all others for as long as the disk is too
    small for it, which may be for ever.
    """
    found = []
    for name in sorted(waiting):
        if waiting[name].level <= free:
            found.append(name)
            free -= waiting[name].need
    return found


class Line:
    """Those that wait, by name."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._least: Waiting | None = _NOBODY

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    @property
    def least(self) -> Waiting:
        """Who waits for the least; known without looking at thousands each time."""
        if self._least is None:
            waiting = self._waiting.values()
            self._least = min(waiting, key=lambda each: each.level, default=_NOBODY)
        return self._least

    def add(self, name: str, wish: Waiting) -> None:
        """Let `name` wait, with this wish and no other."""
        self.drop(name)
        if wish.level < self.least.level:
            self._least = wish
        self._waiting[name] = wish

    def drop(self, name: str) -> Waiting | None:
        """`name` waits no more; returns its wish, if it had one."""
        left = self._waiting.pop(name, None)
        if left is not None and left is self._least:
            self._least = None
        return left

    def fitting(self, free: int) -> list[str]:
        """See `fitting`."""
        return fitting(self._waiting, free)
