"""What a run reports: the numbers for the response's marker, and the outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class Stats:
    """Counts of one run: `ok` + `failed` = `records`.

    `calls` counts every request that was sent, retries included, since each may be paid for;
    `cached` counts the calls that were saved because the answer was known or on its way.
    """

    records: int = 0
    ok: int = 0
    failed: int = 0
    calls: int = 0
    cached: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Result:
    """`partial` when at least one record failed (annotated or dropped), else `enriched`."""

    outcome: Literal["enriched", "partial"]
    stats: Stats = field(default_factory=Stats)
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a payload is. `done` is the share of its bytes read, 0 to 1.

    `waiting` says what its calls wait for, `until` when that is over (Unix time), if it is known.
    """

    done: float
    stats: Stats
    waiting: str | None = None
    until: float | None = None
