"""What a part of the benchmark raises when it can't run here."""

from __future__ import annotations


class Unavailable(Exception):
    """A contestant can't take part; its text says why, in one line."""
