"""Numbers with units, as people write them: `10s`, `64KiB`, `50/s`."""

from __future__ import annotations

import math
import re

from roundtrip.enrich.settings import Rate

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}

# ASCII digits only: `\d` would take digits of every script. The lengths keep numbers finite.
DURATION_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})? ?(ms|s|m|h|d)?$"
SIZE_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,9})? ?([KkMmGgTt][Ii]?)?[Bb]$"
RATE_PATTERN = r"^[0-9]{1,15} ?/ ?[smhd]$"

_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)?")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?((?:[kmgt]i?)?b)", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,15}) ?/ ?([smhd])")

_LONGEST = 10.0**15


def parse_duration(value: object) -> float:
    """Return seconds for `500ms`, `10s`, `5m`, `2h`, `7d` or a plain number of seconds.

    Raises ValueError with a sentence for the user.
    """
    if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        return float(found[1]) * _SECONDS[found[2] or "s"]
    number = _plain_number(value)
    if number is None or not math.isfinite(number):
        raise ValueError(
            f"{shown(value)} is not a duration; write it like 500ms, 10s, 5m, 2h or 7d"
        )
    if number < 0:
        raise ValueError(f"{shown(value)} is negative; a duration is zero or more")
    return number


def parse_size(value: object) -> int:
    """Return bytes for `64KiB`, `10MB` or a plain whole number; raises ValueError."""
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        return int(float(found[1]) * _BYTES[found[2].lower()])
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{shown(value)} is not a size; write it like 64KiB, 10MB or 4096")
    if value < 0:
        raise ValueError(f"{shown(value)} is negative; a size is zero or more")
    return value


def parse_rate(value: object) -> Rate:
    """Return the rate for `50/s`, `100/m`, `1000/h` or `10000/d`; raises ValueError."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            f"{shown(value)} is not a rate; write it like 50/s, 100/m, 1000/h or 10000/d"
        )
    if int(found[1]) < 1:
        raise ValueError(f"{shown(value)} would never call; a rate is at least 1")
    return Rate(calls=int(found[1]), seconds=_SECONDS[found[2]])


def shown(value: object) -> str:
    """Return a value as an error message quotes it: one line, short, text in quotes."""
    if value is None:
        return "an empty value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= _LONGEST:
        return "a number this long"  # also: repr() of a huge integer raises ValueError
    text = repr(value)
    return text if len(text) <= 60 else text[:56] + "...'"


def _plain_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LONGEST else None
