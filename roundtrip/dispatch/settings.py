"""How requests are handed to workers: plain, frozen values that config/ builds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`url` is the broker's and may hold a password; `heartbeat` is in seconds.

    `attempts` workers may end, killed say, while they have a job; then the job has failed.
    """

    url: str = field(repr=False)
    name: str
    folder: Path
    attempts: int = 3
    heartbeat: float = 2.0
