"""What commands say of an exchange's progress, and names made fit for a terminal."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from roundtrip.protocol.documents import printable as printable


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


def local_time(moment: str | None) -> str | None:
    """A moment (RFC 3339) in this host's time zone; None if there is none that can be told."""
    try:
        return datetime.fromisoformat(moment or "").astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, with days if there are any."""
    return str(timedelta(seconds=round(min(seconds, 1e10))))
