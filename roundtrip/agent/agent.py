"""The agent of one role: wakes at events, looks at the names, lets the role act; nothing else.

kernel events --> notice --> schedule --> role.look(exchange) --> the shares
timer         --> heartbeat, health of the shares, and now and then a full listing
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roundtrip.agent.figures import Exporter, Figures
from roundtrip.agent.outbox import Outbox
from roundtrip.agent.schedule import Schedule
from roundtrip.agent.shares import SharePair
from roundtrip.errors import ShareError
from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import Namer
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder
from roundtrip.watch import Event, Kind, Watch, WatchSettings

log = logging.getLogger("roundtrip.agent")

_SHARE = "share"
_SHARE_KINDS = frozenset({Kind.APPEARED, Kind.CREATED, Kind.REMOVED})
_SHARE_RETRY = 2.0  # seconds between two looks for a share that went away
_CHECK_PAUSE = 1.0  # seconds between two checks of the shares' health
_SOON = 5.0  # with --once: what is due within so many seconds is still waited for


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
        pins: Folder,
        locks: list[AgentLock],
        watching: WatchSettings,
        settings: AgentSettings,
    ) -> None:
        self._shares = shares
        self._pins = pins
        self._locks = locks
        self._watching = watching
        self._settings = settings
        self._side: Requester | Responder
        self._outbox: Outbox | None = None
        self._schedule: Schedule
        self._watch: Watch
        self._prepare: Callable[[], Awaitable[None]] | None = None
        self._close: Callable[[], Awaitable[None]] | None = None
        self._stopping = asyncio.Event()
        self._trouble = asyncio.Event()  # A look failed, or events may have been lost.
        self._lost_track = False
        self._last_scan = time.monotonic()
        self._namer = Namer()
        self._started = timestamp(time.time())
        self._last_count = (time.monotonic(), 0)
        self._exporter: Exporter | None = None
        self._listings = 0
        self._last_beat = time.monotonic()
        self._shares_lost = 0
        self._shares_ok = True

    def export(self, exporter: Exporter) -> None:
        """Show figures while the agent serves; not in a run with `once`, which is soon over."""
        self._exporter = exporter

    def figures(self) -> Figures:
        """How it goes; while the agent runs."""
        now = time.monotonic()
        outbox = [] if self._outbox is None else [self._outbox.schedule]
        return Figures(
            side=self._side,
            schedules=[self._schedule, *outbox],
            backends=self._watch.backends(),
            listings=self._listings,
            listing_age=now - self._last_scan,
            beat_age=now - self._last_beat,
            shares_lost=self._shares_lost,
            shares_ok=self._shares_ok,
        )

    def employ(
        self,
        side: Requester | Responder,
        outbox: Outbox | None = None,
        begin: Callable[[], Awaitable[None]] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Give the agent its role.

        `begin` gets what the role needs, once the agent's locks are held; `close` gives it back.
        """
        self._side = side
        self._prepare = begin
        self._outbox = outbox
        self._close = close
        # The responder counts what it enriches itself; the others must find room beside that.
        limit = self._settings.exchanges * 2
        self._schedule = Schedule(side.look, limit, lambda error: self._trouble.set())

    def wake(self, exchange: str) -> None:
        """Look at an exchange soon."""
        self._schedule.wake(exchange)

    async def look_now(self, exchange: str) -> None:
        """Look at an exchange before anything else."""
        await self._schedule.look_now(exchange)

    def stop(self) -> None:
        """End `run` once what is in hand is done or parked."""
        self._stopping.set()

    async def run(self, *, once: bool = False) -> None:
        """Work until `stop`, or with `once` until nothing is left to do now.

        Raises:
            ShareError: a share or folder can't be used at the start.
            BusyError: another agent does this already.
        """
        await self._shares.open()
        for lock in self._locks:
            lock.acquire()
        watch = self._watch = Watch(self._notice, self._watching)
        exporter = None if once else self._exporter
        try:
            if self._prepare is not None:
                await self._prepare()
            if exporter is not None:
                exporter.start()
            await self._begin(watch)
            await (self._finish_what_is_there() if once else self._serve())
        finally:
            log.info("stopping")
            self._side.stop()
            if exporter is not None:
                exporter.stop()
            watch.close()
            if self._outbox is not None:
                await self._outbox.schedule.stop(self._settings.stop_timeout)
            await self._schedule.stop(self._settings.stop_timeout)
            if self._close is not None:
                await self._close()
            for lock in self._locks:
                lock.release()
            log.info("stopped")

    async def _begin(self, watch: Watch) -> None:
        watch.add(_SHARE, self._shares.local.path, _SHARE_KINDS)
        await self._shares.sweep()
        await sweep_parts(self._pins)
        await self._beat()
        await self._side.start()
        if self._outbox is not None:
            self._outbox.start(watch)
        await self._rescan()
        log.info("ready", extra={"role": self._side.role.value, "pid": os.getpid()})

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

    async def _finish_what_is_there(self) -> None:
        schedules = [self._schedule]
        if self._outbox is not None:
            schedules.insert(0, self._outbox.schedule)
        while not self._stopping.is_set() and any(each.is_busy(_SOON) for each in schedules):
            for each in schedules:
                await each.until_idle(_SOON)

    async def _serve(self) -> None:
        """Nothing but the heartbeat wakes an agent that has nothing to do."""
        while True:
            await self._until_needed()
            if self._stopping.is_set():
                return
            was_trouble = self._trouble.is_set()
            self._trouble.clear()
            await self._keep_up()
            if was_trouble:  # A thousand failing looks are no reason to check a thousand times.
                await _wait_for(self._stopping, _CHECK_PAUSE)

    async def _until_needed(self) -> None:
        """Wait for the next heartbeat, for trouble, or for the end."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self._stopping, self._trouble)]
        await asyncio.wait(
            waits, timeout=self._settings.heartbeat, return_when=asyncio.FIRST_COMPLETED
        )
        for wait in waits:
            wait.cancel()

    async def _keep_up(self) -> None:
        """One turn of the timer: the shares' health, the life sign, now and then a listing."""
        try:
            self._watch.check()
            if not await self._shares.are_current():
                await self._recover()
                self._lost_track = True
            await self._beat()
            if self._lost_track or time.monotonic() - self._last_scan >= self._settings.rescan:
                await self._rescan()
        except (OSError, ShareError) as error:
            log.warning("share trouble", extra={"error": str(error)})

    async def _recover(self) -> None:
        """A share has gone or another is in its place: touch nothing until it is back."""
        self._schedule.pause()
        self._shares_ok = False
        self._shares_lost += 1
        log.error("share lost; waiting for it")
        while not self._stopping.is_set():
            try:
                await self._shares.open()
            except ShareError as error:
                log.warning("share not back", extra={"reason": str(error)})
                await _wait_for(self._stopping, _SHARE_RETRY)
            else:
                log.info("share back")
                self._shares_ok = True
                self._schedule.resume()
                return

    async def _rescan(self) -> None:
        self._lost_track = False
        self._last_scan = time.monotonic()
        self._listings += 1
        for name in await self._side.rescan():
            self.wake(name)
        if self._outbox is not None:
            self._outbox.rescan()

    def _per_minute(self, done: int) -> float:
        """Exchanges a minute since the last heartbeat."""
        (before, count), self._last_count = self._last_count, (time.monotonic(), done)
        return round((done - count) * 60 / max(self._last_count[0] - before, 0.001), 1)

    async def _beat(self) -> None:
        figures = self._side.figures()
        await self._shares.beat(
            self._namer,
            {
                "time": timestamp(time.time()),
                "role": self._side.role.value,
                "started": self._started,
                "version": self._settings.version,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "per_minute": self._per_minute(figures["done"]),
                **figures,
            },
        )
        self._last_beat = time.monotonic()


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
