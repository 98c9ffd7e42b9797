"""The requester (role a): hands originals over and delivers their answers, once.

    pending/N --publish--> Unenriched/N, N.done            B answers in Enriched/N, N.done
                                                              |
    collected/N <---------- copy, digest verified on the copy -+
    pending/N   --rename--> closing/N                      A no longer wants it
    collected/N --rename--> inbox/<original name>          the delivery: it consumes its source
    Unenriched/N.done, N    dropped                        B sweeps its two names
    closing/N   --rename--> archive/N

A crash between any two of these lines leaves names that say which line is next. An answer that says
`failed` goes, with the original, to failed/; one that can't be used makes A publish again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import (
    MAX_BYTES,
    Digest,
    Outcome,
    RequestMarker,
    ResponseMarker,
    timestamp,
)
from roundtrip.protocol.names import created_of, marker_of, split, ulid_of
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.states import Names, Role, Step, after
from roundtrip.roles import ticket as tickets
from roundtrip.roles.cleaning import clean
from roundtrip.roles.desk import PROBLEM_SUFFIX, Desk, free_names, moved
from roundtrip.roles.side import Side, survey
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Entry, Folder, NotAFile, SharedFolder

log = logging.getLogger("roundtrip.roles")

_PROBLEM = "~problem"
"""Ends the name of a private copy that is a problem document; no name of ours has a tilde."""


@dataclass(frozen=True, slots=True)
class RequesterSettings:
    """Times are in seconds; `attempts` is how often one exchange is published in all.

    Originals are kept in the archive for `archive_keep` seconds, None for ever.
    """

    settle: float = 1.0
    grace: float = 60.0
    attempts: int = 5
    sender: tuple[tuple[str, str], ...] = ()
    archive_keep: float | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was published: its digest, and the original's looks at that time."""

    digest: Digest
    original: Entry | None


class _Unusable(Exception):
    """Why an answer can't be collected; it may just not be all there yet."""


class Requester(Side):
    """A's side of every exchange on one pair of shares."""

    role = Role.REQUESTER
    enriched: Folder

    def __init__(
        self,
        unenriched: SharedFolder,
        enriched: Folder,
        desk: Desk,
        settings: RequesterSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(unenriched, enriched, grace=settings.grace, clock=clock)
        self._desk = desk
        self._settings = settings
        self.pending: set[str] = set()
        self.delivered = 0
        self._fresh: set[str] = set()
        self._tickets: dict[str, Ticket] = {}
        self._closing: set[str] = set()
        self._unfinished: set[str] = set()
        self._sent: dict[str, _Sent] = {}
        self._doubted: dict[str, float] = {}

    async def start(self) -> None:
        """Read from the own folders what an earlier life left to do."""
        self.pending = set(await self._desk.pending.names())
        self._closing = set(await self._desk.closing.names())
        copies = {name.removesuffix(_PROBLEM) for name in await self._desk.collected.names()}
        # A copy whose original is still pending is no delivery yet: it is collected again.
        self._unfinished = (copies | self._closing) - self.pending

    async def rescan(self) -> list[str]:
        """List both shares; returns what is to be looked at now."""
        known = self.pending | self._closing | self._unfinished
        await clean(self._desk, known, self._settings.archive_keep)
        listing = await survey(self.unenriched, self.enriched)
        found = listing.exchanges
        self.tally.listed = listing.states()
        due = [exchange for exchange, _ in self.due(found, self.pending)]
        absent = (self.pending | self._unfinished) - found.keys()
        return [each for each in due if self._is_ours(each)] + sorted(absent)

    def _is_ours(self, exchange: str) -> bool:
        """Whether this requester made it; others, a shell script say, may use the same shares."""
        return ulid_of(exchange) is not None or exchange in self.pending

    def notice(self, name: str, removed: bool) -> str | None:
        """What an event in Enriched is about: the exchange to look at, if any."""
        found = split(name)
        if found is None:
            return None
        exchange, is_marker = found
        if not self._is_ours(exchange):
            return None
        if removed:  # B's sweeping; it matters if the exchange is to be published again.
            return exchange if exchange in self.pending else None
        return exchange if is_marker or self.is_broken(exchange) else None

    def adopt(self, exchange: str, ticket: Ticket | None = None) -> None:
        """A new exchange lies in pending/; its name is fresh, so nothing of it is on the shares.

        `ticket` spares reading its file, where the caller knows it.
        """
        self.pending.add(exchange)
        self._fresh.add(exchange)
        if ticket is not None:
            self._tickets[exchange] = ticket

    async def _ticket(self, exchange: str) -> Ticket:
        known = self._tickets.get(exchange)
        return known or await tickets.read(self._desk.tickets, exchange)

    def figures(self) -> dict[str, int]:
        """What the life sign says of the work in hand."""
        return {"pending": len(self.pending), "done": self.delivered}

    async def look(self, exchange: str) -> float | None:
        """Do whatever is A's to do now; returns in how many seconds to look again, if at all."""
        try:
            return await self._look(exchange)
        except FileNotFoundError:
            if exchange not in self.pending or await self._desk.pending.stat(exchange):
                raise  # Something else is missing.
            self.pending.discard(exchange)  # Somebody took the original away: not wanted any more.
            self._tickets.pop(exchange, None)
            return 0.0

    async def _look(self, exchange: str) -> float | None:
        if exchange in self._unfinished:
            await self._deliver(exchange)
            self._unfinished.discard(exchange)
        names = Names() if exchange in self._fresh else await self.observe(exchange)
        while True:
            step, again = self.plan(exchange, names, exchange in self.pending)
            if step is Step.WAIT:
                break
            done = await self._do(step, exchange, names)
            if done is Step.WAIT:
                return self._settings.settle
            names = after(self.role, done, names)
        if exchange in self._closing:
            await self._archive(exchange)
        return again

    async def _do(self, step: Step, exchange: str, names: Names) -> Step:
        """Do one step; returns the step that was really done, `WAIT` if none was."""
        if step in (Step.PUBLISH, Step.MARK):
            return await self._publish(exchange, names)
        if step is Step.COLLECT:
            return await self._collect(exchange)
        await self.drop(exchange, step)
        return step

    async def _publish(self, exchange: str, names: Names) -> Step:
        self._fresh.discard(exchange)
        if names.request:  # An earlier life's, perhaps not all there: nobody acts on it unmarked.
            await self.unenriched.remove(exchange)
        with await self._desk.pending.open(exchange) as payload:
            original = payload.entry
            digest = await self.unenriched.put(exchange, payload.source)
        if await self._desk.pending.stat(exchange) != original:
            await self.unenriched.remove(exchange)
            log.info("still growing", extra={"exchange": exchange})
            return Step.WAIT
        ticket = await self._ticket(exchange)
        marker = self._marker(exchange, ticket, digest)
        await self.unenriched.put(marker_of(exchange), marker.encode())
        self._sent[exchange] = _Sent(digest, original)
        self.tally.publish(digest.size)
        log.info(
            "published",
            extra={"exchange": exchange, "size": digest.size, "attempt": ticket.attempt},
        )
        return Step.PUBLISH

    def _marker(self, exchange: str, ticket: Ticket, digest: Digest) -> RequestMarker:
        created = created_of(exchange)
        name = ticket.original_name.encode(errors="surrogateescape").decode(errors="replace")
        return RequestMarker(
            exchange=exchange,
            original_name=name,
            digest=digest,
            pipeline=ticket.pipeline,
            created=timestamp(time.time() if created is None else created),
            deadline=ticket.deadline,
            attempt=ticket.attempt,
            sender=dict(self._settings.sender),
        )

    async def _collect(self, exchange: str) -> Step:
        """Make the answer ours, or say why not; afterwards A no longer wants it."""
        try:
            marker = await self._read_answer(exchange)
            if marker.outcome is Outcome.RESEND:
                return await self._send_again(exchange, "B asked for it again")
            name = exchange + _PROBLEM if marker.outcome is Outcome.FAILED else exchange
            await self._copy_answer(exchange, name, marker.digest)
            self.tally.bytes["in"] += marker.digest.size
        except (_Unusable, UnusableMarker, NotAFile) as error:
            return await self._doubt(exchange, str(error))
        await self._settle(exchange, name, marker.outcome)
        return Step.COLLECT

    async def _read_answer(self, exchange: str) -> ResponseMarker:
        try:
            content = await self.enriched.read(marker_of(exchange), MAX_BYTES)
        except FileNotFoundError:
            raise _Unusable("its marker has gone") from None
        marker = ResponseMarker.decode(content, exchange)
        sent = await self._sent_digest(exchange)
        if marker.request != sent:
            raise _Unusable(f"it answers {marker.request.sha256}, but {sent.sha256} was sent")
        return marker

    async def _sent_digest(self, exchange: str) -> Digest:
        sent = self._sent.get(exchange)
        original = await self._desk.pending.stat(exchange)
        if sent is None or sent.original != original:
            # An earlier life published it, or it has grown since: what it is now is what counts.
            with await self._desk.pending.open(exchange) as payload:
                sent = self._sent[exchange] = _Sent(await payload.digest(), original)
        return sent.digest

    async def _copy_answer(self, exchange: str, name: str, expected: Digest) -> None:
        try:
            with await self.enriched.open(exchange) as payload:
                if payload.size != expected.size:
                    raise _Unusable(f"it has {payload.size} bytes, its marker says {expected.size}")
                found = await self._desk.collected.write(name, payload.source, durable=True)
        except FileNotFoundError:
            raise _Unusable("its payload has gone") from None
        if found != expected:
            raise _Unusable(f"it hashes to {found.sha256}, its marker says {expected.sha256}")

    async def _doubt(self, exchange: str, reason: str) -> Step:
        """An answer that can't be used may still be arriving: look once more before judging."""
        since = self._doubted.setdefault(exchange, self._clock())
        if self._clock() - since < self._settings.settle:
            return Step.WAIT
        return await self._send_again(exchange, reason)

    async def _send_again(self, exchange: str, reason: str) -> Step:
        """Give this attempt up; the request goes, and once B has swept it is published again."""
        self._doubted.pop(exchange, None)
        self._sent.pop(exchange, None)
        ticket = await self._ticket(exchange)
        self.tally.refused += 1
        log.warning(
            "answer refused",
            extra={"exchange": exchange, "reason": reason, "attempt": ticket.attempt},
        )
        if ticket.attempt >= self._settings.attempts:
            await self._give_up(exchange, ticket.attempt, reason)
            return Step.COLLECT
        again = replace(ticket, attempt=ticket.attempt + 1)
        await self._desk.tickets.replace(tickets.file_of(exchange), again.encode())
        self._tickets[exchange] = again
        # Dropped here, not by the table: A still wants the exchange, just not this answer.
        await self.drop(exchange, Step.DROP_MARKER)
        return Step.DROP_MARKER

    async def _give_up(self, exchange: str, attempts: int, reason: str) -> None:
        problem = Problem(
            "no-usable-answer",
            "No usable answer came back",
            f"Published {attempts} times; the last answer was refused: {reason}",
            exchange,
        )
        name = exchange + _PROBLEM
        await self._desk.collected.write(name, problem.encode(), durable=True)
        await self._settle(exchange, name, Outcome.FAILED)

    async def _settle(self, exchange: str, copy: str, outcome: Outcome) -> None:
        """The private copy is safe: stop wanting the exchange, and deliver."""
        await self._desk.pending.move(exchange, self._desk.closing, exchange)
        self.pending.discard(exchange)
        self._closing.add(exchange)
        self._sent.pop(exchange, None)
        self._doubted.pop(exchange, None)
        self._unfinished.add(exchange)
        await self._deliver(exchange, copy, outcome)
        self._unfinished.discard(exchange)

    async def _deliver(
        self, exchange: str, copy: str | None = None, outcome: Outcome | None = None
    ) -> None:
        """Move the private copy to where it belongs; does nothing if that has happened already."""
        if copy is None:
            copy, outcome = await self._copy_left(exchange)
        if copy is None:
            return
        ticket = await self._ticket(exchange)
        if copy == exchange:
            target, names = self._desk.inbox, free_names(ticket.original_name, exchange)
        else:
            target = self._desk.failed
            original = await self._set_aside(exchange, ticket)
            names = free_names(original, exchange, PROBLEM_SUFFIX)
        await target.renew()
        for name in names:
            if ticket.reply:
                await self._report(exchange, outcome, f"{target.label}/{name}")
            if await moved(self._desk.collected, copy, target, name):
                break
        self.delivered += 1
        created = created_of(exchange)
        self.tally.done(outcome, None if created is None else time.time() - created)
        log.info(
            "delivered",
            extra={"exchange": exchange, "outcome": outcome, "to": f"{target.label}/{name}"},
        )

    async def _copy_left(self, exchange: str) -> tuple[str | None, Outcome | None]:
        """The private copy that an earlier life left, and what it is as far as is still known."""
        if await self._desk.collected.stat(exchange + _PROBLEM):
            return exchange + _PROBLEM, Outcome.FAILED
        if not await self._desk.collected.stat(exchange):
            return None, None
        try:
            content = await self.enriched.read(marker_of(exchange), MAX_BYTES)
            return exchange, ResponseMarker.decode(content, exchange).outcome
        except (FileNotFoundError, UnusableMarker, NotAFile):
            return exchange, Outcome.ENRICHED

    async def _set_aside(self, exchange: str, ticket: Ticket) -> str:
        """Move a failed exchange's original to failed/; returns its name there."""
        try:
            for name in free_names(ticket.original_name, exchange):
                if await moved(self._desk.closing, exchange, self._desk.failed, name):
                    return name
        except FileNotFoundError:
            pass  # An earlier life has moved it.
        return ticket.original_name

    # Told before it is done, so that a crash in between leaves a record that is right: who waits
    # takes the delivery as done when the record is there and the private copy is not.
    async def _report(self, exchange: str, outcome: Outcome | None, path: str) -> None:
        record = {"v": 1, "exchange": exchange, "outcome": outcome, "path": path}
        await self._desk.outcomes.replace(tickets.file_of(exchange), json.dumps(record).encode())

    async def _archive(self, exchange: str) -> None:
        """The last line: nothing is on the shares any more but what B sweeps."""
        self._tickets.pop(exchange, None)
        await self._desk.tickets.remove(tickets.file_of(exchange))
        try:
            if self._desk.archive is not None:
                await self._desk.closing.move(exchange, self._desk.archive, exchange)
            else:
                await self._desk.closing.remove(exchange)
        except FileNotFoundError:
            pass  # A failed exchange's original went to failed/ instead.
        self._closing.discard(exchange)
        log.info("closed", extra={"exchange": exchange})
