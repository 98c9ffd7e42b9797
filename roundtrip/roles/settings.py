"""How the two roles work: their times and bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequesterSettings:
    """Times are in seconds; `attempts` is how often one exchange is published in all.

    After `deadline` seconds without an answer an exchange is given up, unless its ticket says
    otherwise.
    """

    settle: float = 1.0
    grace: float = 60.0
    attempts: int = 5
    sender: tuple[tuple[str, str], ...] = ()
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class ResponderSettings:
    """Times are in seconds, sizes in bytes.

    `exchanges` are enriched at once; one request is answered `answers` times at most.
    """

    settle: float = 1.0
    grace: float = 60.0
    exchanges: int = 64
    answers: int = 10
    payload: int | None = None
    refuse_empty_marker: bool = False
    responder: tuple[tuple[str, str], ...] = ()
