"""What commands say of an exchange's progress, and names made fit for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from roundtrip.protocol.documents import printable as printable


def complain(text: str) -> None:
    """One line to standard error; nobody may read it, which is no reason to stop the work."""
    with suppress(OSError):
        print(f"roundtrip: {printable(text)}", file=sys.stderr)


def summarize(outcomes: Mapping[str, int]) -> None:
    """A line about all files, if there are several: what has become of how many."""
    if (count := sum(outcomes.values())) > 1:
        told = ", ".join(f"{number} {name}" for name, number in sorted(outcomes.items()))
        complain(f"{count} files: {told}")


def progress_words(item: dict[str, Any]) -> str:
    """How far an exchange is, in words: what `Pace.told` made."""
    parts = [f"{item['done']:.0%}"]
    if item["records"]:
        parts.append(f"{item['records']:,} records")
    if item["waiting"]:
        return ", ".join([*parts, waiting_words(item["waiting"])])
    if item["rate"] is not None:
        parts.append(f"{item['rate']:,}/s")
    if item["left"] is not None:
        parts.append(f"{duration(item['left'])} left")
    return ", ".join(parts)


def waiting_words(waiting: dict[str, Any]) -> str:
    """What an exchange waits for, until when by this host's time of day."""
    until = local_time(waiting["until"])
    reason = printable(waiting["reason"])
    return f"waits until {until}: {reason}" if until else f"waits: {reason}"


def attempts_words(item: dict[str, Any], now: float) -> str:
    """Which attempt has failed, why, and when the next one is made; `now` is Unix time."""
    why = f": {printable(item['reason'])}" if item["reason"] else ""
    words = f"attempt {item['failed']} of {item['attempts']} failed{why}"
    if item["next"] is None or item["next"] <= now:
        return f"{words}; the next is under way"
    return f"{words}; next at {datetime.fromtimestamp(item['next']):%Y-%m-%d %H:%M:%S}"


def local_time(moment: str | None) -> str | None:
    """A moment (RFC 3339) in this host's time zone; None if there is none that can be told."""
    try:
        return datetime.fromisoformat(moment or "").astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, with days if there are any."""
    return str(timedelta(seconds=round(min(seconds, 1e10))))
