"""The responder (role b): answers each request, and gives the same answer as long as it is asked.

    Unenriched/N, N.done --read, verified--> enrich --> kept/N, kept/N.done      private, local
                                                          |
    Enriched/N, N.done   <-----------publish--------------+                    A collects, and drops
    Enriched/N.done, N   dropped once the request is gone
    kept/N.done, N       forgotten

A request that can't be enriched is answered too: `failed` with a problem document, or `resend` if
its payload isn't what its marker says. Nothing but a vanished request goes without an answer.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roundtrip.enrich import Withdrawn
from roundtrip.protocol.markers import ResponseMarker
from roundtrip.protocol.names import is_canary, marker_of, split
from roundtrip.protocol.states import Names, Role, State, Step, after, state_of
from roundtrip.roles import findings
from roundtrip.roles.answering import Answers
from roundtrip.roles.cleaning import Cleaner
from roundtrip.roles.enrichment import Enrich
from roundtrip.roles.kept import Kept, KeptAnswers
from roundtrip.roles.line import Parked
from roundtrip.roles.progress import ProgressFiles, Reporter
from roundtrip.roles.quarantine import Reports, label_of
from roundtrip.roles.request import NO_FILE, Request, RequestReader, Settling
from roundtrip.roles.rooms import Rooms
from roundtrip.roles.settings import ResponderSettings
from roundtrip.roles.side import Side, is_strange, level_of, survey
from roundtrip.roles.space import is_full
from roundtrip.roles.wishes import Wishes
from roundtrip.shares.port import SMALL, Folder, SharedFolder

log = logging.getLogger("roundtrip.roles")

_COPIES = 3
"""What a small answer takes on B's disk beside its kept copy: the ledger, its log and its notes."""


class Responder(Side):
    """B's side of every exchange on one pair of shares."""

    role = Role.RESPONDER
    unenriched: Folder

    def __init__(
        self,
        unenriched: Folder,
        enriched: SharedFolder,
        kept: Folder,
        reports: Folder,
        enrich: Enrich,
        settings: ResponderSettings,
        *,
        wake: Callable[[str], None],
        retries: Folder | None = None,
        cleaner: Cleaner | None = None,
        rooms: Rooms | None = None,
        details: Callable[[], dict[str, Any]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(unenriched, enriched, grace=settings.grace, clock=clock, cleaner=cleaner)
        self._kept = KeptAnswers(kept)
        self._reports = Reports(reports)
        self._retries = None if retries is None else Wishes(retries)
        self._enrich = enrich
        self._answers = Answers(
            enrich, unenriched, kept, self.tally, settings.responder, settings.settle
        )
        self._progress = ProgressFiles(enriched)
        self._settings = settings
        self._wake = wake
        self._details = details
        self._rooms = rooms or Rooms.unlimited(away=enriched, home=kept)
        self._rooms.on_room(lambda: self._line_up(()))
        self._reader = RequestReader(
            unenriched,
            settle=settings.settle,
            limit=settings.payload,
            refuse_empty_marker=settings.refuse_empty_marker,
            version=dict(settings.responder).get("version", ""),
            clock=clock,
        )
        self._in_hand: set[str] = set()
        # Exchanges that wait for their turn, in order; a dict's first key gets ever slower to find.
        self._line: OrderedDict[str, None] = OrderedDict()
        self._withdrawn: set[str] = set()
        self._stopping = False
        self.answered = 0

    async def start(self) -> None:
        """Nothing to recall: what B kept is found by `rescan`."""
        await self._reports.sweep()

    async def rescan(self) -> list[str]:
        """List both shares; returns what is to be looked at now, and queues the requests."""
        in_hand = set(self._in_hand)
        listing = await survey(self.unenriched, self.enriched)
        found = listing.exchanges
        self._withdrawn |= _not_asked_for(in_hand & self._in_hand, found)
        self.tally.listed = listing.states()
        await self._progress.sweep(listing.progress)
        due = self.due(found, wanted=frozenset())
        await self._rooms.check()
        asked = [
            name
            for name, step in due
            if step in (Step.ANSWER, Step.MARK) and not self._rooms.hold(name)
        ]
        self._line_up(name for name in asked if not is_canary(name))
        there = found.keys() | {label_of(name) for name in listing.strange}
        if self._cleaner.is_due():
            self._cleaner.begin(needed=there)
        known = await self._kept.exchanges() | self._enrich.open_scopes()
        over = (known | await self._reports.labels()) - there
        others = [name for name in asked if is_canary(name)]
        others += [name for name, step in due if step not in (Step.ANSWER, Step.MARK)]
        return listing.strange + others + sorted(over) + await self._wished()

    async def _wished(self) -> list[str]:
        return [] if self._retries is None else await self._retries.names()

    async def heed_wishes(self) -> None:
        """Somebody wishes that a name be looked at afresh: see `Wishes`."""
        for name in await self._wished():
            self._wake(name)

    def stop(self) -> None:
        """See `Side.stop`. What was paid for is in the ledger: the next life goes on from there."""
        super().stop()
        self._rooms.stop()
        self._stopping = True

    def _line_up(self, exchanges: Iterable[str]) -> None:
        """Queue requests that a listing found, without looking at each of them now."""
        self._line.update(dict.fromkeys(exchanges))
        for _ in range(self._settings.exchanges - len(self._in_hand)):
            self._call_next()

    def _call_next(self) -> None:
        if self._rooms.are_short:
            return  # Whoever waits for room goes first, and calls the others.
        if self._line and len(self._in_hand) < self._settings.exchanges:
            first, _ = self._line.popitem(last=False)
            self._wake(first)

    def notice(self, name: str, removed: bool) -> str | None:
        """What an event in Unenriched is about: the name to look at, if any."""
        found = split(name)
        if found is None:
            return name if is_strange(name) else None
        exchange, is_marker = found
        if removed:
            self._rooms.home.stir()
        if is_marker and removed and exchange in self._in_hand:
            self._withdrawn.add(exchange)
            return exchange
        # Nothing follows from a payload that comes (its marker will) nor from a marker that goes
        # (its payload will), unless they come and go in the wrong order.
        return exchange if is_marker != removed or self.is_broken(exchange) else None

    @property
    def held_up(self) -> set[str]:
        """The exchanges in hand that wait for something that takes its time, a quota say."""
        return self._progress.waiting

    def figures(self) -> dict[str, Any]:
        """What the life sign says of the work in hand, and why it is held up if it is."""
        return {
            "enriching": len(self._in_hand),
            "waiting": len(self._line),
            "done": self.answered,
            "held": self._rooms.conditions(),
        }

    def details(self) -> dict[str, Any]:
        """See `Side.details`."""
        return self._details()

    async def look(self, exchange: str) -> float | None:
        """Do whatever is B's to do now; returns in how many seconds to look again, if at all."""
        if self._retries is not None and self._retries.wants(exchange):
            await self._start_afresh(exchange, self._retries)
        if is_strange(exchange):
            await self._report_strange(exchange)
            return None
        try:
            return await self._look(exchange, await self.observe(exchange))
        except Parked:
            return None
        finally:
            self._call_next()

    async def _look(self, exchange: str, names: Names) -> float | None:
        while True:
            step, again = self.plan(exchange, names, wanted=False)
            if step is Step.WAIT:
                break
            if step in (Step.ANSWER, Step.MARK):
                return await self._answer_in_turn(exchange, names)
            await self.drop(exchange, step)
            self._rooms.away.stir()
            names = after(self.role, step, names)
        if state_of(names) is State.ABSENT:
            await self._forget(exchange)
        elif again is None and self.is_broken(exchange):
            await self._report_broken(exchange, names)
        return again

    async def _start_afresh(self, name: str, retries: Wishes) -> None:
        """What was judged before counts no more; in this order, so that a crash repeats it."""
        self._broken_since.pop(name, None)
        self._reader.forget(name)
        if not is_strange(name):
            await self._kept.recount(name)
        await self._reports.lift(name)
        await retries.done(name)
        log.info("looked at afresh", extra={"exchange": name})

    async def _report_strange(self, name: str) -> None:
        if not await self.unenriched.stat(name):
            await self._reports.lift(name)  # Taken away.
        elif not await self._reports.has(name):
            await self._reports.add(name, await findings.strange(self.unenriched, name))

    async def _report_broken(self, exchange: str, names: Names) -> None:
        if not await self._reports.has(exchange):
            seconds = self._clock() - self._broken_since[exchange]
            found = await findings.broken(self.unenriched, exchange, names, seconds)
            await self._reports.add(exchange, found)

    async def _report_held(self, exchange: str, request: Request, kept: Kept) -> None:
        if not await self._reports.has(exchange):
            limit = self._settings.answers
            found = await findings.held(self.unenriched, exchange, request, kept, limit)
            await self._reports.add(exchange, found)

    async def _forget(self, exchange: str) -> None:
        if await self._kept.forget(exchange):
            log.log(level_of(exchange), "closed", extra={"exchange": exchange})
        await self._reports.lift(exchange)
        self._rooms.leave(exchange)
        self._reader.forget(exchange)
        self._enrich.forget(exchange)

    async def _answer_in_turn(self, exchange: str, names: Names) -> float | None:
        if len(self._in_hand) >= self._settings.exchanges and not is_canary(exchange):
            self._line[exchange] = None
            return None
        self._in_hand.add(exchange)
        try:
            size = await self._reader.weight(exchange)
            await self._rooms.away.ask(exchange, size, claims=True)
            own = size + _COPIES * min(size, SMALL)
            async with self._rooms.home.claim(exchange, own, finishing=True):
                return await self._answer(exchange, names)
        except Settling as settling:
            return settling.seconds
        except FileNotFoundError:
            if await self.unenriched.stat(marker_of(exchange)):
                raise  # Something else is missing.
            return None  # The request was withdrawn while it was being read.
        finally:
            self._in_hand.discard(exchange)
            self._withdrawn.discard(exchange)

    async def _answer(self, exchange: str, names: Names) -> float | None:
        request = await self._reader.read(exchange)
        with request.payload:
            kept = await self._kept.get(exchange)
            if kept is None or not kept.answers(request):
                self.tally.bytes["in"] += request.payload.size
                async with self._progress.reporter(exchange) as progress:
                    kept = await self._made(exchange, request, progress)
                    return await self._hand_over(exchange, names, request, kept)
        if kept.given >= self._settings.answers:
            await self._report_held(exchange, request, kept)
            return None
        await self._rooms.away.ask(exchange, kept.marker.digest.size, claims=True)
        kept = kept.again(request.marker.attempt)
        await self._kept.keep(exchange, kept)  # Counted first: a crash must not make it endless.
        return await self._hand_over(exchange, names, request, kept)

    async def _made(self, exchange: str, request: Request, progress: Reporter) -> Kept:
        try:
            return await self._answers.make(
                exchange,
                request,
                cancelled=lambda: self._stopping or exchange in self._withdrawn,
                report=progress.report,
            )
        except Withdrawn:
            self.tally.withdrawn += not self._stopping
            raise Settling(0.0) from None  # Nobody wants it any more: look what is left to do.

    async def _hand_over(
        self, exchange: str, names: Names, request: Request, kept: Kept
    ) -> float | None:
        if await self._was_withdrawn(exchange, request):
            self.tally.withdrawn += 1
            log.info("withdrawn", extra={"exchange": exchange})
            if request.refusal is None:
                await self._kept.keep(exchange, kept.taken_back())
            # It may be asked for all the same: an event came late, or a client wrote out the same
            # payload once more, as NFS clients do. Else there is something to forget.
            return self._settings.settle
        try:
            async with self._rooms.away.claim(exchange, kept.marker.digest.size):
                again = await self._publish(exchange, names, kept)
        except (Parked, OSError):
            await self._kept.keep(exchange, kept.taken_back())
            raise
        if kept.given == 1:
            # After publishing, since A waits for that. A crash in between costs one more
            # enrichment, and only if it fell between payload and marker.
            await self._kept.keep(exchange, kept)
        return again

    async def _was_withdrawn(self, exchange: str, request: Request) -> bool:
        """Whether the request that was answered is not the one that is there now."""
        if exchange in self._withdrawn or not await self.unenriched.stat(marker_of(exchange)):
            return True
        entry = await self.unenriched.stat(exchange)
        return request.payload.entry not in (entry, NO_FILE)

    def _count(self, exchange: str, marker: ResponseMarker) -> None:
        if not is_canary(exchange):
            self.answered += 1
            self.tally.publish(marker.digest.size)
            self.tally.done(marker.outcome, marker.stats.get("seconds"))

    async def _publish(self, exchange: str, names: Names, kept: Kept) -> float | None:
        """Hand the kept answer over; returns 0 to look again at once if it can't be trusted."""
        marker = kept.marker
        if names.response:  # An earlier life's, perhaps not all there: nobody acts on it unmarked.
            await self.enriched.remove(exchange)
        if kept.content is not None:
            digest = await self.enriched.put(exchange, kept.content)
        else:
            with await self._kept.folder.open(exchange) as payload:
                digest = await self.enriched.put(exchange, payload.source)
        if digest != marker.digest:
            log.warning("kept answer is torn; made again", extra={"exchange": exchange})
            await self.enriched.remove(exchange)
            await self._kept.forget(exchange)
            return 0.0
        try:
            await self.enriched.put(marker_of(exchange), marker.encode())
        except OSError as error:
            if is_full(error):  # What nobody acts on would take room that others could use.
                await self.enriched.remove(exchange)
            raise
        self._count(exchange, marker)
        log.log(
            level_of(exchange),
            "answered",
            extra={
                "exchange": exchange,
                "outcome": marker.outcome,
                "size": digest.size,
                "seconds": marker.stats.get("seconds"),
            },
        )
        return None


def _not_asked_for(exchanges: set[str], found: Mapping[str, Names]) -> set[str]:
    """Those whose marker has gone: the event that said so may have been lost."""
    return {name for name in exchanges if not found.get(name, Names()).request_marker}
