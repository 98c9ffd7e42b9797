"""Attempts: when an exchange is published once more, and when that is enough."""

from __future__ import annotations

import logging
from dataclasses import replace

from roundtrip.protocol.markers import Outcome, ResponseMarker
from roundtrip.protocol.names import is_canary
from roundtrip.protocol.problem import MAX_BYTES as LARGEST_PROBLEM
from roundtrip.protocol.problem import Problem
from roundtrip.roles.expiry import Deadlines
from roundtrip.roles.publishing import Publications
from roundtrip.roles.ticket import Ticket, Tickets
from roundtrip.shares.port import Folder

log = logging.getLogger("roundtrip.roles")


class Attempts:
    """Counts them in the tickets, durably; `most` bounds those that brought no usable answer.

    Failed answers are usable. How often an exchange is started again after one, and how long that
    waits, is the wish of whoever submitted it (`Ticket.again`).
    """

    def __init__(
        self,
        tickets: Tickets,
        publications: Publications,
        deadlines: Deadlines,
        collected: Folder,
        most: int,
    ) -> None:
        self._tickets = tickets
        self._publications = publications
        self._deadlines = deadlines
        self._collected = collected
        self._most = most

    async def after_refusal(self, exchange: str, reason: str) -> int | None:
        """Count one more attempt after an unusable answer; the attempts made if it is too many."""
        ticket = await self._tickets.of(exchange)
        log.warning(
            "answer refused",
            extra={"exchange": exchange, "reason": reason, "attempt": ticket.attempt},
        )
        restarts = ticket.again.used if ticket.again else 0
        if ticket.attempt - restarts >= self._most or is_canary(exchange):
            return ticket.attempt
        await self._count(exchange, ticket)
        return None

    async def after_failure(self, answer: ResponseMarker, copy: str) -> bool:
        """Count one more attempt after an answer that is `failed`, if its ticket wants one.

        `copy` is B's problem document among the private copies; it is not the exchange's end then.
        """
        if answer.outcome is not Outcome.FAILED:
            return False
        exchange = answer.exchange
        ticket = await self._tickets.of(exchange)
        if ticket.again is None or ticket.again.left < 1:
            return False
        if answer.attempt < ticket.attempt:  # A life that was killed has counted it.
            await self._collected.remove(copy)
            return True
        problem = Problem.decode(await self._collected.read(copy, LARGEST_PROBLEM), exchange)
        await self._collected.remove(copy)
        log.warning(
            "failed, again",
            extra={"exchange": exchange, "reason": problem.detail, "attempt": ticket.attempt},
        )
        again = ticket.again.begun(self._deadlines.now(), problem.title)
        await self._count(exchange, replace(ticket, again=again))
        return True

    async def _count(self, exchange: str, ticket: Ticket) -> None:
        self._publications.forget(exchange)
        ticket = replace(ticket, attempt=ticket.attempt + 1)
        await self._tickets.replace(exchange, ticket)
        self._deadlines.note(exchange, ticket)
