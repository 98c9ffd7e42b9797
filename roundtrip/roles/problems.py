"""The problem documents that A writes itself: why it gave an exchange up."""

from __future__ import annotations

from roundtrip.protocol.problem import Problem

DEADLINE = "deadline"


def no_usable_answer(exchange: str, attempts: int, reason: str) -> Problem:
    """No attempt brought an answer that could be accepted."""
    return Problem(
        "no-usable-answer",
        "No usable answer came back",
        f"Published {attempts} times; the last answer was refused: {reason}",
        exchange,
    )


def cancelled(exchange: str) -> Problem:
    """Somebody on host A has given it up."""
    return Problem("cancelled", "It was cancelled", "By `roundtrip cancel` on host A", exchange)


def too_late(exchange: str, until: str | None) -> Problem:
    """No answer came before the deadline, which is an RFC 3339 text."""
    return Problem(
        DEADLINE,
        "No answer came in time",
        f"It was wanted until {until} by host A's clock",
        exchange,
    )
