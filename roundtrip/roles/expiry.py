"""Deadlines: from and until when A wants an answer, by A's own clock and nobody else's."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import created_of, is_canary
from roundtrip.roles.ticket import Restarts, Ticket

_LATEST = 253_402_300_799.0  # the end of the year 9999, the last one that RFC 3339 can write


class Deadlines:
    """The deadlines of the exchanges that A wants.

    `default` is how many seconds after its making an exchange without a deadline of its own is
    given up; None: never.
    """

    def __init__(self, default: float | None = None, now: Callable[[], float] = time.time) -> None:
        self._default = default
        self.now = now
        self._known: dict[str, float | None] = {}
        self._resting: dict[str, Restarts] = {}

    def knows(self, exchange: str) -> bool:
        """Whether `note` was told of it."""
        return exchange in self._known

    def note(self, exchange: str, ticket: Ticket) -> None:
        """Take down an exchange's deadline, or that it has none."""
        self._known[exchange] = self._of(exchange, ticket)
        if ticket.again is not None and ticket.again.until is not None:
            self._resting[exchange] = ticket.again

    def rest(self, exchange: str) -> float:
        """Seconds until an exchange that failed is to be started again; 0 if that may be now."""
        again = self._resting.get(exchange)
        if again is None or again.until is None:
            return 0.0
        # A clock that was set back must not make a minute's pause one of years.
        left = min(again.until - self.now(), again.pause)
        if left <= 0:
            del self._resting[exchange]
        return max(left, 0.0)

    def _of(self, exchange: str, ticket: Ticket) -> float | None:
        if is_canary(exchange):
            return None
        if (own := _moment(ticket.deadline)) is not None:
            return own
        created = created_of(exchange)
        if self._default is None or created is None:
            return None
        return min(created + self._default, _LATEST)

    def forget(self, exchange: str) -> None:
        """The exchange is not wanted any more."""
        self._known.pop(exchange, None)
        self._resting.pop(exchange, None)

    def left(self, exchange: str) -> float | None:
        """Seconds until an exchange's deadline, 0 or less once it has passed; None without one."""
        deadline = self._known.get(exchange)
        return None if deadline is None else deadline - self.now()

    def until(self, exchange: str) -> float | None:
        """When to look again at an exchange that is woken before if it can go on."""
        left = self.left(exchange)
        return None if left is None or left <= 0 else left

    def text(self, exchange: str) -> str | None:
        """The deadline as RFC 3339, for the request's marker; None without one."""
        deadline = self._known.get(exchange)
        return None if deadline is None else timestamp(deadline)

    def passed(self) -> list[str]:
        """The exchanges whose deadline has passed."""
        now = self.now()
        return [name for name, when in self._known.items() if when is not None and when <= now]


def deadline_in(seconds: float) -> str:
    """The moment so many seconds from now as a ticket has it."""
    return timestamp(min(time.time() + seconds, _LATEST))


def _moment(text: str | None) -> float | None:
    """Unix time of an RFC 3339 text; None if it is none."""
    try:
        found = datetime.fromisoformat(text or "")
        return min(found.timestamp(), _LATEST) if found.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
