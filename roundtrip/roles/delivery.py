"""Delivery: a private copy goes to inbox/ or failed/, which it does once: a rename consumes it.

collected/N          --rename--> inbox/<original name>
collected/N~problem  --rename--> failed/<original name>.problem.json, the original beside it
closing/N            --rename--> archive/N
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Set
from itertools import islice

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import MAX_BYTES, Outcome, ResponseMarker
from roundtrip.protocol.names import created_of, is_canary, marker_of
from roundtrip.protocol.problem import Problem
from roundtrip.roles.canary import Canary
from roundtrip.roles.desk import (
    NAME_MAX,
    PROBLEM_COPY,
    PROBLEM_SUFFIX,
    Desk,
    free_names,
    moved,
)
from roundtrip.roles.outgoing import Outgoing
from roundtrip.roles.side import level_of
from roundtrip.roles.tally import Tally
from roundtrip.roles.ticket import Ticket, Tickets, file_of
from roundtrip.shares.port import Entry, Folder, NotAFile

log = logging.getLogger("roundtrip.roles")


class Delivery:
    """Moves what was collected to where it belongs. `canary` gets what is nobody's."""

    def __init__(
        self,
        desk: Desk,
        enriched: Folder,
        tickets: Tickets,
        tally: Tally,
        canary: Canary | None,
        outgoing: Outgoing,
    ) -> None:
        self._desk = desk
        self._enriched = enriched
        self._tickets = tickets
        self._tally = tally
        self._canary = canary
        self._outgoing = outgoing
        self.delivered = 0

    async def left(self, pending: Set[str], closing: Set[str]) -> set[str]:
        """The exchanges whose private copies an earlier life left to deliver."""
        copies = set()
        names = await self._desk.collected.names()
        for name in names:
            exchange = name.removesuffix(PROBLEM_COPY)
            if exchange in pending:  # No delivery yet; and its end may be another this time.
                await self._desk.collected.remove(name)
            elif exchange in closing or (name != exchange and await self._is_set_aside(exchange)):
                copies.add(exchange)  # Else its original was taken away: it may be half a copy.
        await self._outgoing.start({name.removesuffix(PROBLEM_COPY) for name in names})
        return copies

    async def mentioned(self) -> set[str]:
        """The names in failed/ that somebody is still to be told of."""
        return await self._outgoing.mentioned()

    async def _is_set_aside(self, exchange: str) -> bool:
        """Whether an earlier life has moved a failed exchange's original to failed/."""
        original_name = (await self._tickets.of(exchange)).original_name
        for name in islice(free_names(original_name, exchange), 2):
            if await self._desk.failed.stat(name) and not await self._has_document(name):
                return True
        return False

    async def resume(self, exchange: str) -> None:
        """Go on with a delivery that was begun; it may have happened, though we were told not."""
        copy, outcome, marker = await self._copy_left(exchange)
        if copy is not None:
            await self.deliver(exchange, copy, outcome, marker)
        else:
            await self._outgoing.push(exchange)

    async def deliver(
        self,
        exchange: str,
        copy: str,
        outcome: Outcome | None,
        marker: ResponseMarker | None = None,
    ) -> None:
        """Move the private copy called `copy` to where it belongs; `marker` is the answer's."""
        if is_canary(exchange):
            await self._end_canary(exchange, copy, outcome)
            return
        ticket = await self._tickets.of(exchange)
        original = None
        if copy == exchange:
            target, names = self._desk.inbox, free_names(ticket.original_name, exchange)
        else:
            target = self._desk.failed
            original = await self._set_aside(exchange, ticket)
            names = free_names(original, exchange, PROBLEM_SUFFIX)
        sending = await self._outgoing.sending(
            exchange,
            (self._desk.collected, copy),
            outcome,
            marker,
            ticket,
            None if original is None else f"{target.label}/{original}",
        )
        await target.renew()
        found = await self._desk.collected.stat(copy) if ticket.reply else None
        for name in names:
            if ticket.reply:
                await self._report(exchange, outcome, f"{target.label}/{name}", found)
            if sending is not None:
                await sending.write(f"{target.label}/{name}")
            if await moved(self._desk.collected, copy, target, name):
                break
        if sending is not None:
            sending.push()
        self.delivered += 1
        created = created_of(exchange)
        self._tally.done(outcome, None if created is None else time.time() - created)
        log.info(
            "delivered",
            extra={"exchange": exchange, "outcome": outcome, "to": f"{target.label}/{name}"},
        )

    async def _end_canary(self, exchange: str, copy: str, outcome: Outcome | None) -> None:
        """It has told what it was sent for; nobody waits for the rest."""
        problem = None
        if copy != exchange:
            content = await self._desk.collected.read(copy, MAX_BYTES)
            problem = Problem.decode(content, exchange)
        await self._desk.collected.remove(copy)
        if self._canary is not None:
            self._canary.back(exchange, outcome, problem)

    async def _copy_left(
        self, exchange: str
    ) -> tuple[str | None, Outcome | None, ResponseMarker | None]:
        """The private copy that an earlier life left, and what it is as far as is still known."""
        if await self._desk.collected.stat(exchange + PROBLEM_COPY):
            return exchange + PROBLEM_COPY, Outcome.FAILED, None
        if not await self._desk.collected.stat(exchange):
            return None, None, None
        try:
            content = await self._enriched.read(marker_of(exchange), MAX_BYTES)
            marker = ResponseMarker.decode(content, exchange)
        except (FileNotFoundError, UnusableMarker, NotAFile):
            return exchange, Outcome.ENRICHED, None
        return exchange, marker.outcome, marker

    async def _set_aside(self, exchange: str, ticket: Ticket) -> str:
        """Move a failed exchange's original to failed/; returns its name there.

        It takes a name beside which the document's is free, too: the two are found by their names.
        """
        failed = self._desk.failed
        try:
            for name in free_names(ticket.original_name, exchange):
                if await self._has_document(name):
                    continue
                if await moved(self._desk.closing, exchange, failed, name):
                    return name
        except FileNotFoundError:
            pass  # An earlier life has moved it.
        first, second = islice(free_names(ticket.original_name, exchange), 2)
        # The name that holds the exchange's ULID can't be another's.
        is_second = await failed.stat(second) and not await self._has_document(second)
        return second if is_second else first

    async def _has_document(self, name: str) -> bool:
        document = name + PROBLEM_SUFFIX
        return len(os.fsencode(document)) <= NAME_MAX and bool(
            await self._desk.failed.stat(document)
        )

    # Told before it is done, so that a crash in between leaves a record that is right: who waits
    # takes the delivery as done when the record is there and the private copy is not.
    async def _report(
        self, exchange: str, outcome: Outcome | None, path: str, found: Entry | None
    ) -> None:
        record = {"v": 1, "exchange": exchange, "outcome": outcome, "path": path}
        if found is not None:  # Who asks later sees whether it still is what lies there.
            record |= {"size": found.size, "changed": found.changed}
        await self._desk.outcomes.replace(file_of(exchange), json.dumps(record).encode())

    async def archive(self, exchange: str) -> None:
        """The last line: nothing is on the shares any more but what B sweeps."""
        await self._tickets.remove(exchange)
        try:
            if self._desk.archive is not None and not is_canary(exchange):
                await self._desk.closing.move(exchange, self._desk.archive, exchange)
            else:
                await self._desk.closing.remove(exchange)
        except FileNotFoundError:
            pass  # A failed exchange's original went to failed/ instead.
        except FileExistsError:
            # Restored from a backup: it was answered, and archived, in the days after that as well.
            await self._desk.closing.remove(exchange)
        log.log(level_of(exchange), "closed", extra={"exchange": exchange})
