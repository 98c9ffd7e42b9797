"""The agent of one role: wakes at events, looks at the names, lets the role act; nothing else.

kernel events --> notice --> schedule --> role.look(exchange) --> the shares
timer         --> heartbeat, health of the shares, and now and then a full listing
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from roundtrip.agent.care import ShareCare
from roundtrip.agent.figures import Exporter, Figures
from roundtrip.agent.notify import Notifier
from roundtrip.agent.outbox import Outbox
from roundtrip.agent.schedule import Schedule
from roundtrip.agent.shares import SharePair
from roundtrip.agent.stopping import Stopping
from roundtrip.agent.vitals import Vitals, VitalsSettings
from roundtrip.deliver.engine import Deliveries
from roundtrip.errors import ShareError
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.peer import PeerWatch
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.roles.space import is_full
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.verdicts import Hung
from roundtrip.watch import Event, Kind, Watch, WatchSettings

log = logging.getLogger("roundtrip.agent")

_SHARE = "share"
_SHARE_KINDS = frozenset({Kind.APPEARED, Kind.CREATED, Kind.REMOVED})
_LAST_CALL = 1.0  # seconds that a mount which hangs is waited for when the agent stops
_CHECK_PAUSE = 1.0  # seconds between two checks of the shares' health
_SOON = 5.0  # with --once: what is due within so many seconds is still waited for


@dataclass(frozen=True, slots=True)
class AgentPlaces:
    """The agent's own folders: `state` holds the `health` file."""

    pins: Folder
    state: PosixFolder
    health: str
    locks: list[AgentLock]


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Times are in seconds; `exchanges` are looked at once."""

    version: str
    heartbeat: float = 30.0
    rescan: float = 300.0
    stop_timeout: float = 10.0
    exchanges: int = 64


class Agent:
    """One role at work, from `run` until `stop`."""

    def __init__(
        self,
        shares: SharePair,
        places: AgentPlaces,
        watching: WatchSettings,
        health: Health,
        settings: AgentSettings,
    ) -> None:
        self._shares = shares
        self._places = places
        self._watching = watching
        self._settings = settings
        self.health = health
        self.is_ready = False
        self.peer: PeerWatch | None = None
        self._care = ShareCare(shares, health, self)
        self._notifier = Notifier()
        self._side: Requester | Responder
        self._vitals: Vitals
        self._outbox: Outbox | None = None
        self._deliveries: Deliveries | None = None
        self._schedule: Schedule
        self._watch: Watch
        self._prepare: Callable[[], Awaitable[None]] | None = None
        self._close: Callable[[], Awaitable[None]] | None = None
        self._ends = ExitStack()
        self._stopping = Stopping()
        self._trouble = asyncio.Event()  # A look failed, or events may have been lost.
        self._lost_track = False
        self._last_scan = time.monotonic()
        self._exporters: list[Exporter] = []
        self._listings = 0

    def export(self, exporter: Exporter) -> None:
        """Show figures while the agent serves; not in a run with `once`, which is soon over."""
        self._exporters.append(exporter)

    def figures(self) -> Figures:
        """How it goes; while the agent runs."""
        now = time.monotonic()
        return Figures(
            side=self._side,
            schedules=self._schedules(),
            backends=self._watch.backends(),
            listings=self._listings,
            listing_age=now - self._last_scan,
            beat_age=now - self._vitals.last_beat,
            shares_lost=self._care.lost,
            shares_ok=self._care.ok,
            conditions=self.health.conditions(),
            deliveries=self._deliveries.runners if self._deliveries else (),
        )

    def employ(
        self,
        side: Requester | Responder,
        outbox: Outbox | None = None,
        begin: Callable[[], Awaitable[None]] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
        deliveries: Deliveries | None = None,
    ) -> None:
        """Give the agent its role.

        `begin` gets what the role needs, once the agent's locks are held; `close` gives it back.
        """
        self._deliveries = deliveries
        self._side = side
        self._prepare = begin
        self._outbox = outbox
        self._close = close
        # The responder counts what it enriches itself; the others must find room beside that.
        limit = self._settings.exchanges * 2
        self._schedule = Schedule(side.look, limit, lambda error: self._trouble.set())
        self._vitals = Vitals(
            self._shares,
            self._places.state,
            self.health,
            VitalsSettings(
                side.role,
                self._settings.version,
                self._places.health,
                self._settings.heartbeat,
            ),
            side.figures,
            side.details,
        )

    def on_end(self, close: Callable[[], None]) -> None:
        """Call `close` when the agent has ended, whatever ended it."""
        self._ends.callback(close)

    def wake(self, exchange: str) -> None:
        """Look at an exchange soon."""
        self._schedule.wake(exchange)

    async def look_now(self, exchange: str) -> None:
        """Look at an exchange before anything else."""
        await self._schedule.look_now(exchange)

    def look(self) -> None:
        """List everything soon; somebody knows that there is something to see."""
        self._lost_track = True
        self._trouble.set()

    def stop(self) -> None:
        """End `run` once what is in hand is done or parked."""
        self._stopping.set()

    async def run(self, *, once: bool = False) -> None:
        """Work until `stop`, or with `once` until nothing is left to do now.

        Raises:
            ShareError: a share or folder can't be used at the start; with `once`, it goes and
                is not back in a few seconds.
            BusyError: another agent does this already.
        """
        try:
            if not await self._stopping.unless(self._care.start(patient=not once)):
                return
            for lock in self._places.locks:
                lock.acquire()
            await self._work(once=once)
        finally:
            await self._care.stop()
            await self._shares.close()
            for lock in self._places.locks:
                lock.release()
            self._ends.close()

    async def _work(self, *, once: bool) -> None:
        self._watch = Watch(self._notice, self._watching, partial(self._watch_trouble, "watch"))
        exporters = [] if once else self._exporters
        try:
            if self._prepare is not None:
                await self._prepare()
            for exporter in exporters:
                exporter.start()
            if await self._stopping.unless(self._begin(patient=not once)):
                await (self._finish_what_is_there() if once else self._serve())
        finally:
            log.info("stopping")
            for exporter in exporters:
                exporter.stop()
            await self._end()
            log.info("stopped")

    async def _end(self) -> None:
        """Finish or park what is in hand; a mount that hangs is waited for no longer."""
        self._side.stop()
        self._watch.close()
        self._shares.remote.hurry(_LAST_CALL)
        await self._care.stop()
        patience = self._settings.stop_timeout
        await asyncio.gather(*(each.stop(patience) for each in self._schedules()))
        if self._close is not None:
            await self._close()
        await self._vitals.stop()
        self._notifier.close()

    async def _begin(self, *, patient: bool) -> None:
        self.hold()  # Until what a killed life left in flight on the share is swept.
        self._watch.add(_SHARE, self._shares.local.path, _SHARE_KINDS)
        await sweep_parts(self._places.pins)
        # The state folder may be another role's, too.
        await sweep_parts(self._places.state, of=self._places.health)
        await self._side.start()
        if self._outbox is not None:
            self._outbox.start(self._watch, partial(self._watch_trouble, "intake"))
            self._outbox.rescan()
        self._vitals.start()
        await self._look_at_peer()
        if self._care.ok:
            await self._resume_first(patient=patient)
        log.info("ready", extra={"role": self._side.role.value, "pid": os.getpid()})
        self._notifier.ready(f"role {self._side.role.value} at work")
        self._notifier.watch()
        self.is_ready = True

    async def _resume_first(self, *, patient: bool) -> None:
        try:
            await self.resume()
        except ShareError as error:
            # Found, verified, and hung since: it is waited for like one that hangs later.
            if not patient or not isinstance(error.__cause__, Hung):
                raise

    def hold(self) -> None:
        """See `Work`: look at no exchange; files are still taken in."""
        self._schedule.pause()

    async def resume(self) -> None:
        """See `Work`."""
        # Each time: a helper that was killed, or a share that went, leaves files in flight behind.
        await self._shares.sweep()
        await self._beat()
        await self._rescan()
        self._schedule.resume()

    def _watch_trouble(self, kind: str, folder: str, text: str | None) -> None:
        if text is None:
            self.health.clear(f"{kind}.{folder}")
        else:
            self.health.report(f"{kind}.{folder}", text, Severity.WARNING)

    def _notice(self, events: list[Event]) -> None:
        for event in events:
            if event.folder != _SHARE:
                if self._outbox is not None:
                    self._outbox.notice(event)
            elif event.kind in (Kind.RESCAN, Kind.GONE):
                self._lost_track = True
                self._trouble.set()
            elif name := self._side.notice(event.name, event.kind is Kind.REMOVED):
                self._schedule.wake(name)

    def _schedules(self) -> list[Schedule]:
        return [self._schedule] if self._outbox is None else [self._outbox.schedule, self._schedule]

    async def _finish_what_is_there(self) -> None:
        schedules: list[Schedule | Deliveries] = [*self._schedules()]
        if self._deliveries is not None:
            schedules.append(self._deliveries)
        while not self._stopping.is_set() and any(each.is_busy(_SOON) for each in schedules):
            for each in schedules:
                await self._stopping.unless(each.until_idle(_SOON))
            await self._stopping.unless(self._care.must_be_back(_SOON))
        await self._stopping.unless(self._side.cleaned())

    async def _serve(self) -> None:
        """Nothing but the heartbeat wakes an agent that has nothing to do."""
        while True:
            await self._stopping.pause(self._settings.heartbeat, self._trouble)
            if self._stopping.is_set():
                return
            was_trouble = self._trouble.is_set()
            self._trouble.clear()
            await self._stopping.unless(self._keep_up())
            if was_trouble:  # A thousand failing looks are no reason to check a thousand times.
                await self._stopping.pause(_CHECK_PAUSE)

    async def _keep_up(self) -> None:
        """One turn of the timer: the shares' health, the life sign, now and then a listing."""
        self._watch.check()
        await self._look_at_peer()
        try:
            await self._care.check()
            if self._care.ok:
                await self._beat()
                if self._lost_track or time.monotonic() - self._last_scan >= self._settings.rescan:
                    await self._rescan()
        except (OSError, ShareError) as error:
            log.warning("share trouble", extra={"error": str(error)})
        self._vitals.refresh()

    async def _look_at_peer(self) -> None:
        if self.peer is not None:
            with suppress(OSError, ShareError):  # The share's own check says what is wrong with it.
                await self.peer.look()

    async def _beat(self) -> None:
        """Give a sign of life; a full disk is no reason to stop what may make room on it."""
        try:
            await self._vitals.beat()
        except ShareError as error:
            if not is_full(error.__cause__):
                raise
            log.warning("share trouble", extra={"error": str(error)})

    async def _rescan(self) -> None:
        self._lost_track = False
        self._last_scan = time.monotonic()
        self._listings += 1
        for name in await self._side.rescan():
            self.wake(name)
        if self._outbox is not None:
            self._outbox.rescan()
