"""The runner of one delivery: takes what is due, tries, and tries again; no other runner waits.

push --> agenda --> attempt, a few at once --> delivered: the entry goes
           ^                  |--> again later: the entry says when, and why
           |                  '--> dead: the entry goes to dead/       (all three: `Notes`)
           '-- pause of the parcel, or of all while the receiver is away
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

from roundtrip.deliver.agenda import Agenda
from roundtrip.deliver.entry import Entry
from roundtrip.deliver.handover import Handover
from roundtrip.deliver.notes import Disk, End, Note, Notes
from roundtrip.deliver.pauses import pause
from roundtrip.deliver.port import Delivery, Undelivered
from roundtrip.deliver.presence import Presence
from roundtrip.deliver.settings import DeliverySettings
from roundtrip.deliver.shelf import Shelf

log = logging.getLogger("roundtrip.deliver")

_LINGER = 1.0  # seconds that what is in hand has to end by itself when the agent stops
_DISK_PAUSE = 10.0  # seconds before the queue's own folder is tried again after an error


class Runner:
    """Delivers what is in one shelf. Everything happens in the running event loop."""

    def __init__(
        self,
        settings: DeliverySettings,
        shelf: Shelf,
        folder: Path,
        make: Callable[[], Delivery],
        *,
        trouble: Callable[[str | None], None] = lambda text: None,
        disk: Disk | None = None,
        now: Callable[[], float] = time.time,
        dice: random.Random | None = None,
    ) -> None:
        """`folder` is the shelf's; `make` may raise what `Delivery.deliver` may.

        `trouble` is told why nothing can be delivered, and None once something can. `disk` is
        told when the shelf's has no room.
        """
        self.settings = settings
        self.shelf = shelf
        self.notes = Notes(settings.name, shelf, disk, self._disk_is_back)
        self._handover = Handover(settings, folder, make)
        self._now = now
        self._dice = dice or random.Random()
        self._agenda = Agenda()
        self._presence = Presence(trouble, self._pause, settings.max_delay)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._turned = asyncio.Event()  # an attempt has ended
        self._is_open = False
        self._task: asyncio.Task[None] | None = None

    def push(self, exchange: str) -> None:
        """Something is due; harmless if that is known."""
        if self._agenda.add(exchange):
            self._changed.set()

    def hasten(self, exchange: str) -> None:
        """Something is to be tried now, known or not, and the receiver even if it was away."""
        self.notes.forget(exchange)  # Whoever wishes has written another entry.
        self._agenda.hasten(exchange)
        self._presence.hasten()
        self._changed.set()

    def _disk_is_back(self, name: str) -> None:
        self._agenda.hasten(*self.notes.kept)
        self._changed.set()

    @property
    def waiting(self) -> int:
        """How many are due, and not being tried."""
        return len(self._agenda)

    @property
    def running(self) -> int:
        """How many are being tried."""
        return len(self._running)

    def start(self) -> None:
        """Begin; what is pushed earlier or later is delivered."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    @property
    def _name(self) -> str:
        return f"deliver {self.settings.name}"

    def is_busy(self, horizon: float = 0.0) -> bool:
        """Whether something is being tried, or will be within `horizon` seconds."""
        if self._running or not self._is_open:
            return bool(self._running)
        first = self._agenda.next()
        return first is not None and max(first, self._presence.not_before) <= _time() + horizon

    async def until_idle(self, horizon: float) -> None:
        """Wait until nothing is being tried, or will be within `horizon` seconds."""
        while self.is_busy(horizon):
            self._turned.clear()
            await self._turned.wait()

    def cut(self) -> None:
        """End at once, whatever is in hand."""
        for task in (self._task, *self._running.values()):
            if task is not None:
                task.cancel()

    async def stop(self) -> None:
        """End soon; what is not delivered stays due."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=_LINGER)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._handover.aclose()

    async def _run(self) -> None:
        await self._open()
        self._is_open = True
        while True:
            self._changed.clear()
            rest = self._begin_what_is_due(_time())
            try:
                async with asyncio.timeout(rest):
                    await self._changed.wait()
            except TimeoutError:
                pass  # Something is due now.

    async def _open(self) -> None:
        """Receivers that come by themselves must find somebody before anything is due."""
        failures = 0
        while self.settings.listens and (told := await self._handover.ready()):
            failures += 1
            self._presence.missed(told.text, _time())
            await asyncio.sleep(self._pause(failures))
        self._presence.reached()

    def _begin_what_is_due(self, now: float) -> float | None:
        """Begin attempts; returns in how many seconds the next one is due, None if none is."""
        if now < self._presence.not_before:
            return self._presence.not_before - now
        most = 1 if self._presence.is_away else self.settings.concurrency
        while len(self._running) < most and (first := self._agenda.next()) is not None:
            if first > now:
                return first - now
            exchange = self._agenda.take()
            task = asyncio.get_running_loop().create_task(self._attempt(exchange), name=self._name)
            self._running[exchange] = task
        return None

    async def _attempt(self, exchange: str) -> None:
        again: float | None = None
        try:
            again = await self._try(exchange)
        except OSError as error:  # The queue's own disk.
            again = self._held(exchange, error)
        except Exception:
            log.exception("defect", extra=self._about(exchange))
            again = self.settings.max_delay
        finally:
            del self._running[exchange]
            if again is not None:
                self._agenda.put_back(exchange, _time() + again)
            elif self._agenda.forget(exchange):
                self._presence.settle()
            self._changed.set()
            self._turned.set()

    def _held(self, exchange: str, error: OSError) -> float:
        note = self.notes.of(exchange)
        if note is None:
            log.warning("delivery held", extra=self._about(exchange, reason=str(error)))
            return _DISK_PAUSE
        return self._left(note.entry) or _DISK_PAUSE

    async def _try(self, exchange: str) -> float | None:
        """Try once, if it is time; returns in how many seconds to come back, None for never."""
        try:
            entry = await self._entry(exchange)
        except ValueError as error:
            log.error("delivery unreadable", extra=self._about(exchange, reason=str(error)))
            return None
        if entry is None:  # Somebody has dropped it, or we have, and were told that we hadn't.
            await self.shelf.remove(exchange)
            return None
        if left := self._left(entry):
            return left
        if self._presence.is_away and self._is_expired(entry):
            failure = Undelivered(False, f"expired: {self._presence.reason}")
            return await self._failed(entry, failure)
        found = await self._handover.attempt(entry)
        if found is not None and found.away:
            self._presence.missed(found.text, _time(), found.after)
        else:
            self._presence.reached()
        if found is not None:
            return await self._failed(entry, found)
        await self.notes.write(Note(entry, End.DELIVERED))
        return None

    async def _entry(self, exchange: str) -> Entry | None:
        """What is due, None if nothing is any more; first, what is known of it is written down."""
        note = self.notes.of(exchange)
        if note is not None:
            try:
                await self.notes.write(note)
            except OSError:
                if note.end is not End.FAILED or self._left(note.entry):
                    raise
                return note.entry  # It is time again: a full disk keeps no receiver waiting.
        entry = await self.shelf.read(exchange)
        self.notes.read(exchange, entry)
        return entry

    def _left(self, entry: Entry) -> float:
        """Seconds until it is tried again; 0 if that is now, or somebody has set the clock."""
        left = 0.0 if entry.next is None else entry.next - self._now()
        return left if 0 < left <= self.settings.max_delay else 0.0

    async def _failed(self, entry: Entry, failure: Undelivered) -> float | None:
        if failure.passing and not self._is_expired(entry):
            return await self._postpone(entry, failure)
        why = f"expired: {failure.text}" if failure.passing else failure.text
        await self.notes.write(Note(entry.after(why, None, failure.settled), End.DEAD))
        return None

    async def _postpone(self, entry: Entry, failure: Undelivered) -> float | None:
        again = self._pause(entry.attempts + 1)
        if failure.after is not None:
            again = min(max(again, failure.after), self.settings.max_delay)
        entry = entry.after(failure.text, self._now() + again, failure.settled)
        is_there = await self.notes.write(Note(entry, End.FAILED, again))
        return again if is_there else None

    def _pause(self, attempts: int) -> float:
        return pause(attempts, self.settings.min_delay, self.settings.max_delay, self._dice)

    def _is_expired(self, entry: Entry) -> bool:
        return self._now() - entry.queued >= self.settings.expire

    def _about(self, exchange: str, **extra: object) -> dict[str, object]:
        return {"delivery": self.settings.name, "exchange": exchange, **extra}


def _time() -> float:
    return asyncio.get_running_loop().time()
