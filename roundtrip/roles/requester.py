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
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import (
    MAX_BYTES,
    Digest,
    Outcome,
    RequestMarker,
    ResponseMarker,
    timestamp,
)
from roundtrip.protocol.names import created_of, is_canary, marker_of, split, ulid_of
from roundtrip.protocol.problem import Problem, extended
from roundtrip.protocol.states import Names, Role, State, Step, after, state_of
from roundtrip.protocol.versions import PROTOCOL, NewerProtocol
from roundtrip.roles import evidence
from roundtrip.roles import ticket as tickets
from roundtrip.roles.admission import Admission
from roundtrip.roles.canary import Canary
from roundtrip.roles.cleaning import Cleaner, drop_leftovers
from roundtrip.roles.desk import NAME_MAX, PROBLEM_SUFFIX, Desk, free_names, moved
from roundtrip.roles.desk import PROBLEM_COPY as _PROBLEM
from roundtrip.roles.expiry import Deadlines
from roundtrip.roles.health import Health
from roundtrip.roles.side import Side, level_of, survey
from roundtrip.roles.space import Parked, is_full
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Entry, Folder, NotAFile, Payload, SharedFolder
from roundtrip.shares.verdicts import share_of

log = logging.getLogger("roundtrip.roles")


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
        *,
        now: Callable[[], float] = time.time,
        health: Health | None = None,
        canary: Canary | None = None,
        cleaner: Cleaner | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`clock` is for pauses, `now` the time of day, which deadlines are held against."""
        super().__init__(unenriched, enriched, grace=settings.grace, clock=clock, cleaner=cleaner)
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
        self._health = health or Health()
        self._admission = admission or Admission.unlimited(unenriched, desk.pending)
        self.canary = canary
        self._deadlines = Deadlines(settings.deadline, now)
        self._timed: set[str] = set()  # have a deadline, and nothing yet that wakes us then
        self._held: set[str] = set()  # have an answer that only a newer version of us can read
        self._begun: dict[str, str] = {}  # the private copy that was begun, and is not settled

    async def start(self) -> None:
        """Read from the own folders what an earlier life left to do."""
        self.pending = set(await self._desk.pending.names())
        await self._admission.start(self._desk.pending)
        self._closing = set(await self._desk.closing.names())
        copies = set()
        for name in await self._desk.collected.names():
            exchange = name.removesuffix(_PROBLEM)
            if exchange in self.pending:  # No delivery yet; and its end may be another this time.
                await self._desk.collected.remove(name)
            elif name != exchange or exchange in self._closing:
                copies.add(exchange)  # Else its original was taken away: it may be half a copy.
        self._unfinished = copies | (self._closing - self.pending)
        await self._read_deadlines()
        if self.canary is not None:
            self.canary.start(self.adopt, self.pending)

    async def _read_deadlines(self) -> None:
        files = set(await self._desk.tickets.names())
        for exchange in self.pending:
            written = tickets.file_of(exchange) in files
            ticket = await self._ticket(exchange) if written else tickets.implied(exchange)
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
            self._cleaner.begin(needed=self.pending | self._closing | self._unfinished)

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
            self._tickets[exchange] = ticket
            self._deadlines.note(exchange, ticket)

    async def _ticket(self, exchange: str) -> Ticket:
        known = self._tickets.get(exchange)
        return known or await tickets.read(self._desk.tickets, exchange)

    def figures(self) -> dict[str, int]:
        """What the life sign says of the work in hand."""
        canaries = self.canary is not None and self.canary.exchange in self.pending
        return {"pending": len(self.pending) - canaries, "done": self.delivered}

    def details(self) -> dict[str, Any]:
        """See `Side.details`."""
        return {} if self.canary is None else {"canary": self.canary.figures()}

    async def look(self, exchange: str) -> float | None:
        """Do whatever is A's to do now; returns in how many seconds to look again, if at all."""
        try:
            return await self._look(exchange)
        except Parked:
            return self._until_deadline(exchange)
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
            self._tickets.pop(exchange, None)  # Somebody took the original away: unwanted now.
            if self.canary is not None:
                self.canary.lost(exchange)
            return 0.0
        except OSError as error:
            if not is_full(error) or share_of(error) is not None or exchange not in self.pending:
                raise
            self._admission.home.refused(exchange, error)
            return self._until_deadline(exchange)
        finally:
            self._admission.looked(exchange, wanted=exchange in self.pending)

    def _until_deadline(self, exchange: str) -> float | None:
        """When to look again at an exchange that is woken before if it can go on."""
        left = self._deadlines.left(exchange)
        return None if left is None or left <= 0 else left

    async def _look(self, exchange: str) -> float | None:
        if exchange in self._unfinished:
            await self._deliver(exchange)
            self._unfinished.discard(exchange)
        names = Names() if exchange in self._fresh else await self.observe(exchange)
        if not self._concerns(exchange, names):
            return None
        left = await self._time_left(exchange, names)
        while True:
            step, again = self.plan(exchange, names, exchange in self.pending)
            if step is Step.WAIT:
                break
            done = await self._do(step, exchange, names)
            if done is Step.WAIT:
                return left if exchange in self._held else self._settings.settle
            names = after(self.role, done, names)
            self._show_canary(exchange, names)
        if exchange in self._closing:
            await self._archive(exchange)
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
            ticket = self._tickets[exchange] = await self._ticket(exchange)
            self._deadlines.note(exchange, ticket)
        left = self._deadlines.left(exchange)
        if left is None or left > 0:
            return left
        if state_of(names) is not State.ANSWERED or exchange in self._held:
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
            return await self._put(exchange, names)

    async def drop(self, exchange: str, step: Step) -> None:
        """See `Side.drop`."""
        await super().drop(exchange, step)
        self._admission.away.stir()

    async def _put(self, exchange: str, names: Names) -> Step:
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
        try:
            await self.unenriched.put(marker_of(exchange), marker.encode())
        except OSError as error:
            if is_full(error):  # What nobody acts on would take room that others could use.
                await self.unenriched.remove(exchange)
            raise
        self._sent[exchange] = _Sent(digest, original)
        if not is_canary(exchange):
            self.tally.publish(digest.size)
        log.log(
            level_of(exchange),
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
            deadline=self._deadlines.text(exchange),
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
            if name != exchange:
                await self._complete_problem(exchange, name)
            self.tally.bytes["in"] += marker.digest.size
        except NewerProtocol as error:
            return self._hold(exchange, error)
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
        if is_canary(exchange) and marker.outcome is Outcome.ENRICHED and marker.digest != sent:
            raise _Unusable("it is not what was sent")
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
        await self._begin_copy(exchange, name)
        try:
            with await self.enriched.open(exchange) as payload:
                if payload.size != expected.size:
                    raise _Unusable(f"it has {payload.size} bytes, its marker says {expected.size}")
                found = await self._write_copy(exchange, name, payload)
        except FileNotFoundError:
            raise _Unusable("its payload has gone") from None
        if found != expected:
            raise _Unusable(f"it hashes to {found.sha256}, its marker says {expected.sha256}")

    async def _write_copy(self, exchange: str, name: str, answer: Payload) -> Digest:
        collected = self._desk.collected
        async with self._admission.home.claim(exchange, answer.size, finishing=True):
            try:
                return await collected.write(name, answer.source, durable=True)
            except OSError as error:
                if is_full(error):  # Half a copy takes room that others could use.
                    await collected.remove(name)
                raise

    async def _complete_problem(self, exchange: str, name: str) -> None:
        """Add to B's problem document what is needed to send the original again.

        What is no such document, or a huge one, is put into one of ours as evidence.
        """
        content = await self._desk.collected.read(name, MAX_BYTES)
        members: dict[str, object] = {"instance": exchange}
        members["request"] = await self._asked(exchange)
        document = extended(content, members) if len(content) <= MAX_BYTES else None
        if document is None:
            found = await evidence.file(self._desk.collected, name, evidence.MARKER_HEAD)
            members["evidence"] = {"files": {"answer": found}}
            document = Problem.decode(content[:MAX_BYTES], exchange).extended(members)
        await self._desk.collected.write(name, document, durable=True)

    async def _asked(self, exchange: str) -> dict[str, object]:
        """What a problem document says of the request."""
        ticket = await self._ticket(exchange)
        found = {"original_name": ticket.original_name, "pipeline": ticket.pipeline}
        return {**found, "attempt": ticket.attempt}

    async def _begin_copy(self, exchange: str, name: str) -> None:
        """There is one private copy: another that was begun before must not be delivered, too."""
        before = self._begun.get(exchange, name)
        if before != name:
            await self._desk.collected.remove(before)
        self._begun[exchange] = name

    def _hold(self, exchange: str, error: NewerProtocol) -> Step:
        """An answer that this version can't read will still be there for the next one.

        Asking again would bring the same, so no attempt is spent on it.
        """
        self._held.add(exchange)
        version = dict(self._settings.sender).get("version", "this version")
        reason = (
            f"host B answers in protocol {error.spoken}; this side ({version}) speaks {PROTOCOL}: "
            "upgrade host A; the answers wait in Enriched, nothing is lost"
        )
        self._health.report("answers", reason)
        names = Names(True, True, True, True)
        self._show_canary(exchange, names, f"it speaks protocol {error.spoken}")
        return Step.WAIT

    def _forget(self, exchange: str) -> None:
        """Its answer is not waited for any more."""
        self._deadlines.forget(exchange)
        self._begun.pop(exchange, None)
        self._release(exchange)

    def _release(self, exchange: str) -> None:
        if exchange in self._held:
            self._held.discard(exchange)
            if not self._held:
                self._health.clear("answers")

    async def _doubt(self, exchange: str, reason: str) -> Step:
        """An answer that can't be used may still be arriving: look once more before judging."""
        self._release(exchange)
        since = self._doubted.setdefault(exchange, self._clock())
        self._show_canary(exchange, Names(True, True, True, True), reason)
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
        if ticket.attempt >= self._settings.attempts or is_canary(exchange):
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
        # The last answer is still there; its request is dropped only after this.
        files = await evidence.exchange_files(self.enriched, exchange, "answer")
        await self._fail(exchange, problem, {"evidence": {"attempt": attempts, "files": files}})

    async def _expire(self, exchange: str) -> None:
        """Its deadline has passed: what is on the shares goes because A wants it no longer."""
        self._fresh.discard(exchange)
        problem = Problem(
            "deadline",
            "No answer came in time",
            f"It was wanted until {self._deadlines.text(exchange)} by host A's clock",
            exchange,
        )
        log.warning("expired", extra={"exchange": exchange, "reason": problem.detail})
        await self._fail(exchange, problem)

    async def _fail(
        self, exchange: str, problem: Problem, members: Mapping[str, object] | None = None
    ) -> None:
        name = exchange + _PROBLEM
        await self._begin_copy(exchange, name)
        document = problem.extended({"request": await self._asked(exchange), **(members or {})})
        await self._desk.collected.write(name, document, durable=True)
        await self._settle(exchange, name, Outcome.FAILED)

    async def _settle(self, exchange: str, copy: str, outcome: Outcome) -> None:
        """The private copy is safe: stop wanting the exchange, and deliver."""
        await self._desk.pending.move(exchange, self._desk.closing, exchange)
        self.pending.discard(exchange)
        self._closing.add(exchange)
        self._sent.pop(exchange, None)
        self._doubted.pop(exchange, None)
        self._forget(exchange)
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
        if is_canary(exchange):
            await self._end_canary(exchange, copy, outcome)
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

    async def _end_canary(self, exchange: str, copy: str, outcome: Outcome | None) -> None:
        """It has told what it was sent for; nobody waits for the rest."""
        problem = None
        if copy != exchange:
            content = await self._desk.collected.read(copy, MAX_BYTES)
            problem = Problem.decode(content, exchange)
        await self._desk.collected.remove(copy)
        if self.canary is not None:
            self.canary.back(exchange, outcome, problem)

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
    async def _report(self, exchange: str, outcome: Outcome | None, path: str) -> None:
        record = {"v": 1, "exchange": exchange, "outcome": outcome, "path": path}
        await self._desk.outcomes.replace(tickets.file_of(exchange), json.dumps(record).encode())

    async def _archive(self, exchange: str) -> None:
        """The last line: nothing is on the shares any more but what B sweeps."""
        self._tickets.pop(exchange, None)
        await self._desk.tickets.remove(tickets.file_of(exchange))
        try:
            if self._desk.archive is not None and not is_canary(exchange):
                await self._desk.closing.move(exchange, self._desk.archive, exchange)
            else:
                await self._desk.closing.remove(exchange)
        except FileNotFoundError:
            pass  # A failed exchange's original went to failed/ instead.
        self._closing.discard(exchange)
        log.log(level_of(exchange), "closed", extra={"exchange": exchange})
