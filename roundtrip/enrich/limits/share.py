"""A worker's part of limits that several workers have together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """Part `number` (from 0) of so many equal ones; the parts of a whole number add up to it."""

    number: int = 0
    of: int = 1

    def calls(self, total: int) -> int:
        """This part of so many calls."""
        each, rest = divmod(total, self.of)
        return each + (self.number < rest)


WHOLE = Share()
