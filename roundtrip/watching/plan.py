"""What `roundtrip watch` was asked to do, as plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from roundtrip.roles.intake import IN_FLIGHT

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 600.0
"""Seconds before the first retry, doubled before each other, and at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which files are handled, and how; durations are in seconds."""

    folder: Path
    on: str = "close_write"  # close_write | moved_to | done
    command: tuple[str, ...] | None = None  # with placeholders; None: files are told
    backend: str = "auto"
    interval: float = 1.0
    deep: bool = False
    match: tuple[str, ...] = ()  # globs of names; none: all
    ignore: tuple[str, ...] = ()
    settle: float = 0.0
    once: bool = False
    new_only: bool = False
    concurrency: int = 1
    retries: int = 0
    pause: float = FIRST_PAUSE
    timeout: float | None = None
    dead: Path | None = None
    interrupted: str = "dead"  # dead | retry
    in_place: bool = False
    quiet_stdout: bool = False  # what commands print goes to stderr


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name fits one of the globs (case counts); none fits nothing."""
    fits = re.compile("|".join(map(translate, globs)) or r"(?!)").match
    return lambda name: fits(name) is not None


_is_in_flight = matcher(IN_FLIGHT)


def chooser(plan: Plan) -> Callable[[str], bool]:
    """Whether a file of this name is to be handled: wanted, and not a name of what is in flight."""
    is_wanted = matcher(plan.match) if plan.match else lambda name: True
    is_ignored = matcher(plan.ignore)
    return lambda name: is_wanted(name) and not is_ignored(name) and not _is_in_flight(name.lower())


def enters(name: str) -> bool:
    """Whether a folder of this name is gone into: hidden ones are somebody's own affairs."""
    return not name.startswith(".")
