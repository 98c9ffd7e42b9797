"""What is wrong now, since when, and what it means: one list for status, metrics, log and alarms.

Whoever notices a trouble reports it under a key and clears that key when it is over; nobody else
needs to know how it was noticed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from roundtrip.protocol.markers import timestamp

log = logging.getLogger("roundtrip.health")


class Severity(StrEnum):
    """How bad a condition is."""

    NOTICE = "notice"
    """Works as configured, but somebody waits because of it."""
    WARNING = "warning"
    """Goes on for now; will become worse unless somebody does something."""
    ALARM = "alarm"
    """Exchanges stand still, or may be about to."""


class Condition(NamedTuple):
    """One thing that is wrong. `since` is RFC 3339; `text` one line: what, where, what to do."""

    key: str
    severity: Severity
    text: str
    since: str


def read_health(path: Path) -> dict[str, Any]:
    """What an agent's health file says; nothing if there is none, or none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Health:
    """The conditions that hold now, in the order in which they began."""

    def __init__(
        self,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on_change = on_change
        self._clock = clock
        self._conditions: dict[str, Condition] = {}

    def report(self, key: str, text: str, severity: Severity = Severity.ALARM) -> None:
        """A condition holds; it keeps its beginning if it has held before, whatever its text."""
        known = self._conditions.get(key)
        since = known.since if known else timestamp(self._clock())
        found = Condition(key, severity, text, since)
        if found == known:
            return
        self._conditions[key] = found
        if known is None or known.severity is not severity:
            log.warning("trouble", extra={"key": key, "severity": severity, "reason": text})
        self.on_change()

    def clear(self, key: str) -> None:
        """A condition holds no longer; harmless if it didn't."""
        known = self._conditions.pop(key, None)
        if known is not None:
            log.info("trouble over", extra={"key": key, "since": known.since})
            self.on_change()

    def holds(self, key: str) -> bool:
        """Whether the condition holds."""
        return key in self._conditions

    def conditions(self) -> list[Condition]:
        """Everything that is wrong now."""
        return list(self._conditions.values())
