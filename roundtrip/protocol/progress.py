"""Progress files: `Enriched/.N.<number>.progress`, a hint how far an exchange is; no state.

B writes each one under a new number, higher than the last. Readers must do without them: a file
that is not what it should be is none.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from roundtrip.protocol.documents import read_object
from roundtrip.protocol.markers import VERSION, timestamp
from roundtrip.protocol.names import is_exchange

_NAME = re.compile(r"\.(.+)\.([0-9]{1,20})\.progress")
_LONGEST_REASON = 500  # characters
_LATEST = 253_402_300_799.0  # the end of the year 9999, the last one that RFC 3339 can write
_MOST = 1 << 63


class ProgressName(NamedTuple):
    """What the name of a progress file says; the highest number is the newest."""

    exchange: str
    number: int


def progress_name(exchange: str, number: int) -> str:
    """The name of a progress file."""
    return f".{exchange}.{number}.progress"


def split_progress(name: str) -> ProgressName | None:
    """What a name found on a share means; None if it is no progress file's."""
    if not name.endswith(".progress"):
        return None
    found = _NAME.fullmatch(name)
    return ProgressName(found[1], int(found[2])) if found and is_exchange(found[1]) else None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an exchange waits for, and until when (Unix time, B's clock), if that is known."""

    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class ProgressNote:
    """How far an exchange is: `done` is a share from 0 to 1, `seconds` is how long B is at it.

    `records` counts those that were read; `calls`, `cached`, `ok` and `failed` are as in a response
    marker's `stats`.
    """

    exchange: str
    done: float
    records: int = 0
    ok: int = 0
    failed: int = 0
    calls: int = 0
    cached: int = 0
    seconds: float = 0.0
    waiting: Waiting | None = None
    created: str | None = None

    def encode(self) -> bytes:
        """The file's content, UTF-8 JSON."""
        waiting = self.waiting and {
            "reason": self.waiting.reason[:_LONGEST_REASON],
            "until": None if self.waiting.until is None else _written(self.waiting.until),
        }
        fields = {
            "v": VERSION,
            "exchange": self.exchange,
            "done": round(self.done, 6),
            **{key: getattr(self, key) for key in _COUNTS},
            "seconds": round(self.seconds, 3),
            "waiting": waiting,
            "created": self.created,
        }
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, content: bytes, exchange: str) -> ProgressNote | None:
        """Read the progress of `exchange`; None if the content is anything else."""
        try:
            fields = read_object(content)
        except ValueError:
            return None
        if fields.get("v") != VERSION or fields.get("exchange") != exchange:
            return None
        done = _number(fields.get("done"))
        if done is None:
            return None
        created = fields.get("created")
        return cls(
            exchange=exchange,
            done=min(done, 1.0),
            **{key: _count(fields.get(key)) for key in _COUNTS},
            seconds=_number(fields.get("seconds")) or 0.0,
            waiting=_waiting(fields.get("waiting")),
            created=created if isinstance(created, str) else None,
        )


_COUNTS = ("records", "ok", "failed", "calls", "cached")


def _written(until: float) -> str:
    return timestamp(min(max(until, 0.0), _LATEST))


def _number(value: object) -> float | None:
    """A finite number that is not negative, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _MOST and math.isfinite(value) else None


def _count(value: object) -> int:
    if type(value) is int:  # Not by way of a float, which has 53 bits.
        return value if 0 <= value < _MOST else 0
    return int(_number(value) or 0)


def _waiting(value: object) -> Waiting | None:
    if not isinstance(value, dict) or not isinstance(value.get("reason"), str):
        return None
    return Waiting(value["reason"][:_LONGEST_REASON], _moment(value.get("until")))


def _moment(value: object) -> float | None:
    """Unix time of an RFC 3339 text, else None."""
    try:
        found = datetime.fromisoformat(str(value))
        return found.timestamp() if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
