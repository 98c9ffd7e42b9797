"""What was done, by whom, and what became of it: the evidence when a seed finds something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

_KEPT = 4000  # lines
_SHOWN = 120
_ROUTINE = ("names", "space")  # the slow timer's look around, which would be most of a trace


class Line(NamedTuple):
    """One operation; `fate` is empty where it was simply done."""

    when: float
    who: str
    verb: str
    place: str
    fate: str

    def __str__(self) -> str:
        fate = f" [{self.fate}]" if self.fate else ""
        return f"{self.when:9.3f} {self.who:2} {self.verb} {self.place}{fate}"


class Trace:
    """The last operations of a simulation, and how many there were."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.operations = 0
        self.lines: deque[Line] = deque(maxlen=_KEPT)
        self._clock = clock

    def add(self, who: str, verb: str, place: str, fate: str = "") -> None:
        """An operation begins, or ends otherwise than it should."""
        self.operations += 1
        if fate or verb not in _ROUTINE:
            self.lines.append(Line(self._clock(), who, verb, place, fate))

    def about(self, exchanges: Collection[str]) -> list[Line]:
        """The last operations on these exchanges; on all, if there are none."""
        lines = [
            line
            for line in self.lines
            if not exchanges or line.who == "-" or any(name in line.place for name in exchanges)
        ]
        return lines[-_SHOWN:]
