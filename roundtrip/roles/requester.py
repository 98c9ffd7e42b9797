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

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import Outcome, ResponseMarker
from roundtrip.protocol.names import is_canary, split, ulid_of
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.states import Names, Role, State, Step, after, state_of
from roundtrip.protocol.versions import NewerProtocol
from roundtrip.roles import evidence, problems
from roundtrip.roles.admission import Admission
from roundtrip.roles.attempts import Attempts
from roundtrip.roles.canary import Canary
from roundtrip.roles.cleaning import Cleaner, drop_leftovers
from roundtrip.roles.collecting import Collection, Unusable
from roundtrip.roles.delivery import Delivery
from roundtrip.roles.desk import Desk
from roundtrip.roles.doubts import Doubts
from roundtrip.roles.expiry import Deadlines
from roundtrip.roles.health import Health
from roundtrip.roles.line import Parked
from roundtrip.roles.outgoing import Outgoing
from roundtrip.roles.publishing import Publications
from roundtrip.roles.settings import RequesterSettings
from roundtrip.roles.side import Side, survey
from roundtrip.roles.space import is_full
from roundtrip.roles.ticket import Ticket, Tickets, implied
from roundtrip.roles.wishes import Wishes
from roundtrip.shares.port import Folder, NotAFile, SharedFolder
from roundtrip.shares.verdicts import share_of

log = logging.getLogger("roundtrip.roles")


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
        *,
        now: Callable[[], float] = time.time,
        health: Health | None = None,
        canary: Canary | None = None,
        cleaner: Cleaner | None = None,
        admission: Admission | None = None,
        outgoing: Outgoing | None = None,
        cancels: Wishes | None = None,
    ) -> None:
        """`clock` is for pauses, `now` the time of day, which deadlines are held against."""
        super().__init__(unenriched, enriched, grace=settings.grace, clock=clock, cleaner=cleaner)
        self._desk = desk
        self._settings = settings
        self.pending: set[str] = set()
        self._fresh: set[str] = set()
        self._closing: set[str] = set()
        self._unfinished: set[str] = set()
        version = dict(settings.sender).get("version", "this version")
        self._doubts = Doubts(health or Health(), settings.settle, clock, version)
        self._admission = admission or Admission.unlimited(unenriched, desk.pending)
        self.canary = canary
        self._tickets = Tickets(desk.tickets)
        self._cancels = cancels
        self._publications = Publications(unenriched, desk.pending, settings.sender)
        self._collection = Collection(
            enriched, desk.collected, self._admission.home, self._publications, self._tickets
        )
        outgoing = outgoing or Outgoing()
        self._delivery = Delivery(desk, enriched, self._tickets, self.tally, canary, outgoing)
        self._deadlines = Deadlines(settings.deadline, now)
        self._attempts = Attempts(
            self._tickets, self._publications, self._deadlines, desk.collected, settings.attempts
        )
        self._timed: set[str] = set()  # have a deadline, and nothing yet that wakes us then

    async def start(self) -> None:
        """Read from the own folders what an earlier life left to do."""
        self.pending = set(await self._desk.pending.names())
        await self._admission.start(self._desk.pending)
        self._closing = set(await self._desk.closing.names())
        copies = await self._delivery.left(self.pending, self._closing)
        self._unfinished = copies | (self._closing - self.pending)
        await self._read_deadlines()
        if self._cancels is not None:
            await self._cancels.names()  # Before anything of them is published.
        if self.canary is not None:
            self.canary.start(self.adopt, self.pending)

    async def _read_deadlines(self) -> None:
        written = await self._tickets.written()
        for exchange in self.pending:
            ticket = await self._tickets.of(exchange) if exchange in written else implied(exchange)
            self._deadlines.note(exchange, ticket)
        self._timed = {name for name in self.pending if self._deadlines.left(name) is not None}

    def stop(self) -> None:
        """See `Side.stop`."""
        super().stop()
        self._admission.stop()
        if self.canary is not None:
            self.canary.stop()

    async def rescan(self) -> list[str]:
        """List both shares; returns what is to be looked at now."""
        await self._clean()
        listing = await survey(self.unenriched, self.enriched)
        found = listing.exchanges
        self.tally.listed = listing.states()
        ours = {each: names for each, names in found.items() if self._concerns(each, names)}
        due = [exchange for exchange, _ in self.due(ours, self.pending)]
        waiting = await self._admission.recount(found, self.pending, self._desk.pending)
        absent = (self.pending | self._unfinished) - found.keys() - waiting
        expiring, self._timed = self._timed.union(self._deadlines.passed()), set()
        others = absent | (expiring & self.pending).difference(due)
        return [each for each in due if self._is_ours(each)] + sorted(others)

    async def _clean(self) -> None:
        if self._cleaner.is_due():
            found = await drop_leftovers(self._desk, self._is_open, self._cleaner.began)
            self._cleaner.told("leftovers", *found)
            own = self.pending | self._closing | self._unfinished
            self._cleaner.begin(needed=own | await self._delivery.mentioned())

    def _is_open(self, exchange: str) -> bool:
        return any(exchange in own for own in (self.pending, self._closing, self._unfinished))

    def _concerns(self, exchange: str, names: Names) -> bool:
        """Whether there may be anything to do; of names that B alone has put there, there isn't.

        Else B could make A look at a million of them, and keep their state in mind for ever.
        """
        return names.request or names.request_marker or self._is_open(exchange)

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
            self._admission.home.stir()
            return exchange if exchange in self.pending else None
        return exchange if is_marker or self.is_broken(exchange) else None

    def adopt(self, exchange: str, ticket: Ticket | None = None) -> None:
        """A new exchange lies in pending/; its name is fresh, so nothing of it is on the shares.

        `ticket` spares reading its file, where the caller knows it.
        """
        self.pending.add(exchange)
        self._fresh.add(exchange)
        if ticket is not None:
            self._tickets.keep(exchange, ticket)
            self._deadlines.note(exchange, ticket)

    def figures(self) -> dict[str, int]:
        """What the life sign says of the work in hand."""
        canaries = self.canary is not None and self.canary.exchange in self.pending
        return {"pending": len(self.pending) - canaries, "done": self._delivery.delivered}

    def details(self) -> dict[str, Any]:
        """See `Side.details`."""
        return {} if self.canary is None else {"canary": self.canary.figures()}

    async def look(self, exchange: str) -> float | None:
        """Do whatever is A's to do now; returns in how many seconds to look again, if at all."""
        try:
            return await self._look(exchange)
        except Parked:
            return self._deadlines.until(exchange)
        except FileNotFoundError:
            if exchange not in self.pending or await self._desk.pending.stat(exchange):
                raise  # Something else is missing.
            is_ours = await self._desk.closing.stat(exchange) is not None
            self.pending.discard(exchange)
            self._fresh.discard(exchange)
            self._forget(exchange)
            if is_ours:  # It was we who moved it, though we were told that we didn't.
                self._closing.add(exchange)
                self._unfinished.add(exchange)
                return 0.0
            self._tickets.forget(exchange)  # Somebody took the original away: unwanted now.
            if self.canary is not None:
                self.canary.lost(exchange)
            return 0.0
        except OSError as error:
            if not is_full(error) or share_of(error) is not None:
                raise
            if exchange not in self.pending:
                self._admission.stuck(exchange, error)
                raise
            self._admission.home.refused(exchange, error)
            return self._deadlines.until(exchange)
        finally:
            self._admission.looked(exchange, wanted=exchange in self.pending)

    async def _look(self, exchange: str) -> float | None:
        if exchange in self._unfinished:
            await self._delivery.resume(exchange)
            self._unfinished.discard(exchange)
        if self._cancels is not None and self._cancels.wants(exchange):
            await self._cancel(exchange, self._cancels)
        names = Names() if exchange in self._fresh else await self.observe(exchange)
        if not self._concerns(exchange, names):
            return None
        left = await self._time_left(exchange, names)
        while True:
            step, again = self.plan(exchange, names, exchange in self.pending)
            if step is Step.WAIT:
                break
            if step is Step.PUBLISH and (rest := self._deadlines.rest(exchange)) > 0:
                return rest if left is None else min(left, rest)
            done = await self._do(step, exchange, names)
            if done is Step.WAIT:
                return left if self._doubts.is_held(exchange) else self._settings.settle
            names = after(self.role, done, names)
            self._show_canary(exchange, names)
        if exchange in self._closing:
            await self._delivery.archive(exchange)
            self._closing.discard(exchange)
        if left is None or exchange not in self.pending:
            return again
        return left if again is None else min(left, again)

    async def _time_left(self, exchange: str, names: Names) -> float | None:
        """Seconds until the exchange's deadline, None without one; gives it up if it has passed.

        An answer that can be collected now is in time: it was paid for, and it was we who are late.
        """
        self._show_canary(exchange, names)
        if exchange not in self.pending:
            return None
        if not self._deadlines.knows(exchange):
            ticket = await self._tickets.of(exchange)
            self._tickets.keep(exchange, ticket)
            self._deadlines.note(exchange, ticket)
        left = self._deadlines.left(exchange)
        if left is None or left > 0:
            return left
        if state_of(names) is not State.ANSWERED or self._doubts.is_held(exchange):
            await self._expire(exchange)
        return 0.0

    def _show_canary(self, exchange: str, names: Names, trouble: str = "") -> None:
        if self.canary is not None:
            self.canary.seen(exchange, names, trouble)

    async def _do(self, step: Step, exchange: str, names: Names) -> Step:
        """Do one step; returns the step that was really done, `WAIT` if none was."""
        if step in (Step.PUBLISH, Step.MARK):
            return await self._publish(exchange, names)
        if step is Step.COLLECT:
            return await self._collect(exchange)
        await self.drop(exchange, step)
        return step

    async def _publish(self, exchange: str, names: Names) -> Step:
        async with self._admission.publication(exchange, self._desk.pending):
            self._fresh.discard(exchange)
            if names.request:  # An earlier life's, perhaps half: nobody acts on it unmarked.
                await self.unenriched.remove(exchange)
            ticket, deadline = await self._tickets.of(exchange), self._deadlines.text(exchange)
            sent = await self._publications.put(exchange, ticket, deadline)
        if sent is None:
            return Step.WAIT
        if not is_canary(exchange):
            self.tally.publish(sent.size)
        return Step.PUBLISH

    async def drop(self, exchange: str, step: Step) -> None:
        """See `Side.drop`."""
        await super().drop(exchange, step)
        self._admission.away.stir()

    async def _collect(self, exchange: str) -> Step:
        """Make the answer ours, or say why not; afterwards A no longer wants it."""
        try:
            marker = await self._collection.read_answer(exchange)
            if marker.outcome is Outcome.RESEND:
                return await self._send_again(exchange, "B asked for it again")
            copy = await self._collection.copy(exchange, marker)
            self.tally.bytes["in"] += marker.digest.size
        except NewerProtocol as error:
            return self._hold(exchange, error)
        except (Unusable, UnusableMarker, NotAFile) as error:
            return await self._doubt(exchange, str(error))
        if await self._attempts.after_failure(marker, copy):
            return await self._withdraw(exchange)
        await self._settle(exchange, copy, marker.outcome, marker)
        return Step.COLLECT

    def _hold(self, exchange: str, error: NewerProtocol) -> Step:
        self._doubts.hold(exchange, error)
        trouble = f"it speaks protocol {error.spoken}"
        self._show_canary(exchange, Names(True, True, True, True), trouble)
        return Step.WAIT

    def _forget(self, exchange: str) -> None:
        """Its answer is not waited for any more."""
        self._deadlines.forget(exchange)
        self._publications.forget(exchange)
        self._collection.forget(exchange)
        self._doubts.forget(exchange)

    async def _doubt(self, exchange: str, reason: str) -> Step:
        """An answer that can't be used may still be arriving: look once more before judging."""
        is_judged = self._doubts.last(exchange)
        self._show_canary(exchange, Names(True, True, True, True), reason)
        return await self._send_again(exchange, reason) if is_judged else Step.WAIT

    async def _send_again(self, exchange: str, reason: str) -> Step:
        """Give this attempt up, and after the last one the exchange."""
        self._doubts.judged(exchange)
        self.tally.refused += 1
        made = await self._attempts.after_refusal(exchange, reason)
        if made is None:
            return await self._withdraw(exchange)
        await self._give_up(exchange, made, reason)
        return Step.COLLECT

    async def _withdraw(self, exchange: str) -> Step:
        """The request goes, and once B has swept it is published again.

        Dropped here, not by the table: A still wants the exchange, just not this answer.
        """
        await self.drop(exchange, Step.DROP_MARKER)
        return Step.DROP_MARKER

    async def _give_up(self, exchange: str, attempts: int, reason: str) -> None:
        problem = problems.no_usable_answer(exchange, attempts, reason)
        # The last answer is still there; its request is dropped only after this.
        files = await evidence.exchange_files(self.enriched, exchange, "answer")
        await self._fail(exchange, problem, {"evidence": {"attempt": attempts, "files": files}})

    async def _cancel(self, exchange: str, cancels: Wishes) -> None:
        """Somebody wants it no longer; one that is over already is not touched."""
        if await self._desk.submit.stat(exchange):
            return  # It is not ours yet; the look at it when it is will come here again.
        if exchange in self.pending:
            self._fresh.discard(exchange)
            log.info("cancelled", extra={"exchange": exchange})
            await self._fail(exchange, problems.cancelled(exchange))
        await cancels.done(exchange)

    async def _expire(self, exchange: str) -> None:
        """Its deadline has passed: what is on the shares goes because A wants it no longer."""
        self._fresh.discard(exchange)
        problem = problems.too_late(exchange, self._deadlines.text(exchange))
        log.warning("expired", extra={"exchange": exchange, "reason": problem.detail})
        await self._fail(exchange, problem)

    async def _fail(
        self, exchange: str, problem: Problem, members: Mapping[str, object] | None = None
    ) -> None:
        copy = await self._collection.conclude(exchange, problem, members)
        await self._settle(exchange, copy, Outcome.FAILED)

    async def _settle(
        self, exchange: str, copy: str, outcome: Outcome, marker: ResponseMarker | None = None
    ) -> None:
        """The private copy is safe: stop wanting the exchange, and deliver."""
        await self._desk.pending.move(exchange, self._desk.closing, exchange)
        self.pending.discard(exchange)
        self._closing.add(exchange)
        self._forget(exchange)
        self._unfinished.add(exchange)
        await self._delivery.deliver(exchange, copy, outcome, marker)
        self._unfinished.discard(exchange)
