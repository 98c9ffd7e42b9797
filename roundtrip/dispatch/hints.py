"""Hints from workers to the agent: how far a job is, and that it has ended. They may be lost."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from roundtrip.dispatch.job import numbers
from roundtrip.enrich.results import Progress, Stats
from roundtrip.protocol.documents import read_object

_COUNTS = ("records", "ok", "failed", "calls", "cached")


class Hint(NamedTuple):
    """What a worker says of a job; without `progress`, look into the folder."""

    job: str
    progress: Progress | None = None


def encode(hint: Hint) -> bytes:
    """The hint as a message."""
    said: dict[str, Any] = {"job": hint.job}
    if hint.progress is not None:
        found = hint.progress
        said["done"] = round(found.done, 6)
        said["stats"] = {key: getattr(found.stats, key) for key in _COUNTS}
        said["waiting"], said["until"] = found.waiting, found.until
    return json.dumps(said).encode()


def decode(message: bytes) -> Hint | None:
    """What a message says; None if it is no hint."""
    try:
        said = read_object(message)
        return Hint(str(said["job"]), _progress(said) if "done" in said else None)
    except (ValueError, KeyError, TypeError):
        return None


def _progress(said: dict[str, Any]) -> Progress:
    counts = {key: int(value) for key, value in numbers(said["stats"]).items() if key in _COUNTS}
    waiting, until = said.get("waiting"), said.get("until")
    return Progress(
        done=min(max(float(said["done"]), 0.0), 1.0),
        stats=Stats(**counts),
        waiting=waiting if isinstance(waiting, str) else None,
        until=float(until) if isinstance(until, int | float) else None,
    )
