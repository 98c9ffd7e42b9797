"""Where files come in on A: the outbox, its pipeline folders, and what `send` and `Client` add."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Awaitable, Callable

from roundtrip.agent.schedule import Schedule
from roundtrip.errors import ShareError
from roundtrip.protocol.names import is_exchange, is_internal
from roundtrip.roles.desk import Desk
from roundtrip.roles.intake import Intake
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Kind as Thing
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import Event, Kind, Watch

log = logging.getLogger("roundtrip.agent")

OUTBOX = "outbox"
SUBMIT = "submit"
_RENAMED = frozenset({Kind.APPEARED, Kind.CREATED})
_WRITTEN = _RENAMED | {Kind.CLOSED}
_LIMIT = 16


class Outbox:
    """Watches the outbox and hands each complete file on as a new exchange.

    A file is known as `<folder key>/<name>`: `outbox/x.csv`, `outbox/<pipeline>/x.csv`,
    `submit/<exchange>`.
    """

    def __init__(
        self,
        outbox: PosixFolder,
        submit: PosixFolder,
        desk: Desk,
        intake: Intake,
        adopt: Callable[[str, Ticket | None], Awaitable[None]],
    ) -> None:
        self._folders = {OUTBOX: outbox, SUBMIT: submit}
        self._desk = desk
        self._intake = intake
        self._adopt = adopt
        self._watch: Watch | None = None
        self._told: set[str] = set()  # Files that an event said are complete.
        self._kinds = _RENAMED if intake.by_rename else _WRITTEN
        self.schedule = Schedule(self._take, _LIMIT)

    def start(self, watch: Watch) -> None:
        """Watch; what is there already is found by `rescan`."""
        self._watch = watch
        watch.add(OUTBOX, self._folders[OUTBOX].path, self._kinds | {Kind.FOLDER})
        watch.add(SUBMIT, self._folders[SUBMIT].path, frozenset({Kind.APPEARED}))

    def notice(self, event: Event) -> bool:
        """Handle an event; False if it is about another folder."""
        if event.folder not in self._folders:
            return False
        match event.kind:
            case Kind.RESCAN:
                self.schedule.wake(f"{event.folder}/")
            case Kind.FOLDER:
                self.schedule.wake(f"{event.folder}/{event.name}/")
            case Kind.GONE:
                self._forget(event.folder)
            case Kind.CREATED if not self._is_made_whole(event.folder, event.name):
                pass  # It will be closed or renamed.
            case _:
                self._consider(event.folder, event.name, told=True)
        return True

    def rescan(self) -> None:
        """Look at everything that is there: events are hints, and some may have been lost."""
        self.schedule.wake(f"{OUTBOX}/")
        self.schedule.wake(f"{SUBMIT}/")

    def _is_made_whole(self, folder: str, name: str) -> bool:
        """Whether its creation is the last that is heard of a name: a link, or no file at all."""
        try:
            found = os.lstat(self._folders[folder].path / name)
        except OSError:
            return False  # Gone again.
        return found.st_nlink > 1 or not stat.S_ISREG(found.st_mode)

    def _consider(self, folder: str, name: str, *, told: bool = False) -> None:
        file: str | None = name
        if folder == SUBMIT:
            file = name if is_exchange(name) else None
        else:
            file = self._intake.candidate(name)
        if file is not None:
            if told:
                self._told.add(f"{folder}/{file}")
            self.schedule.wake(f"{folder}/{file}")

    async def _take(self, key: str) -> float | None:
        folder, _, name = key.rpartition("/")
        if not name:
            await self._scan(folder)
            return None
        if folder == SUBMIT:
            await self._take_submitted(name)
            self._told.discard(key)
            return None
        if folder not in self._folders:
            return None  # A pipeline's folder that has gone meanwhile.
        pipeline = folder.removeprefix(OUTBOX).removeprefix("/") or None
        told = key in self._told
        taken = await self._intake.take(self._folders[folder], pipeline, name, told=told)
        if taken.again is None:
            self._told.discard(key)
        if taken.exchange is not None:
            await self._adopt(taken.exchange, taken.ticket)
        return taken.again

    async def _take_submitted(self, exchange: str) -> None:
        try:
            await self._folders[SUBMIT].move(exchange, self._desk.pending, exchange)
        except FileNotFoundError:
            return  # Taken already: events are hints.
        log.info("taken", extra={"exchange": exchange, "file": f"{SUBMIT}/{exchange}"})
        await self._adopt(exchange, None)

    async def _scan(self, folder: str) -> None:
        if not self._is_open(folder):
            return
        for name in await self._folders[folder].names():
            if folder == OUTBOX and await self._is_pipeline(name):
                await self._scan(f"{OUTBOX}/{name}")
            else:
                self._consider(folder, name)

    async def _is_pipeline(self, name: str) -> bool:
        entry = None if is_internal(name) else await self._folders[OUTBOX].stat(name)
        return entry is not None and entry.kind is Thing.FOLDER

    def _is_open(self, folder: str) -> bool:
        """Open the folder that is at the path now, if it isn't open already; False if none is."""
        known = self._folders.get(folder)
        if known is not None and known.is_current():
            return True
        if known is None or folder not in (OUTBOX, SUBMIT):
            self._forget(folder)
            return self._open(folder)
        try:
            known.open_folder()
        except ShareError as error:  # The watch tells when it is back.
            log.warning("folder lost", extra={"file": folder, "reason": str(error)})
            return False
        return True

    def _open(self, folder: str) -> bool:
        """Watch a pipeline's folder; False if it isn't one (any more)."""
        pipeline = folder.removeprefix(f"{OUTBOX}/")
        if is_internal(pipeline) or "/" in pipeline:
            return False
        try:
            self._folders[folder] = self._folders[OUTBOX].sub(pipeline)
            assert self._watch is not None
            self._watch.add(folder, self._folders[folder].path, self._kinds)
        except ShareError as error:
            self._forget(folder)
            log.warning("folder not watched", extra={"file": folder, "reason": str(error)})
            return False
        return True

    def _forget(self, folder: str) -> None:
        """A pipeline's folder has gone; the outbox itself is waited for."""
        if folder in (OUTBOX, SUBMIT) or folder not in self._folders:
            return
        self._folders.pop(folder).close()
        if self._watch is not None:
            self._watch.remove(folder)

    def close(self) -> None:
        """Give the descriptors back."""
        for folder in self._folders.values():
            folder.close()
