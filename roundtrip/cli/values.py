"""What several commands take as an option's value; argparse shows what these raise."""

from __future__ import annotations

import argparse

_SHORTEST = 0.1
_LONGEST = 1e9  # time.sleep(3) takes no more than some 9e9


def duration(text: str) -> float:
    """Seconds, written as the configuration has them: 500ms, 30s, 15m, 2h, 7d, or a number."""
    from roundtrip.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def time_span(text: str) -> float:
    """The same, and more than none."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


def interval(text: str) -> float:
    """The same, and enough for the machine to do something else meanwhile."""
    seconds = duration(text)
    if seconds < _SHORTEST:
        raise argparse.ArgumentTypeError(f"must be {_SHORTEST:g} s or more")
    return min(seconds, _LONGEST)
