"""What several commands take as an option's value; argparse shows what these raise."""

from __future__ import annotations

import argparse


def duration(text: str) -> float:
    """Seconds, written as the configuration has them: 500ms, 30s, 15m, 2h, 7d."""
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
