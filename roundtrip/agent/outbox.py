"""Where files come in on A: the outbox, its pipeline folders, and what `send` and `Client` add."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from functools import partial

from roundtrip.agent.schedule import Schedule
from roundtrip.errors import ShareError
from roundtrip.protocol.names import is_exchange, is_internal
from roundtrip.roles.desk import Desk
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.intake import Intake
from roundtrip.roles.space import is_full
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Kind as Thing
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import Event, Kind, Watch, mounts

log = logging.getLogger("roundtrip.agent")

OUTBOX = "outbox"
SUBMIT = "submit"
_RENAMED = frozenset({Kind.APPEARED, Kind.CREATED})
_WRITTEN = _RENAMED | {Kind.CLOSED}
_LIMIT = 16
_MOUNTS = "/"  # the key under which the mount table is looked at
_MOUNTS_PAUSE = 10.0  # seconds; longer than what a run with --once still waits for

OnTrouble = Callable[[str, str | None], None]


class Outbox:
    """Watches the outbox and hands each complete file on as a new exchange.

    A file is known as `<folder key>/<name>`: `outbox/x.csv`, `outbox/<pipeline>/x.csv`,
    `submit/<exchange>`. Files are taken by rename, which leads from one mount to another never: so
    a pipeline's folder on which something is mounted is left alone, and not even looked at, since
    what is mounted may hang.
    """

    def __init__(
        self,
        outbox: PosixFolder,
        submit: PosixFolder,
        desk: Desk,
        intake: Intake,
        adopt: Callable[[str, Ticket | None], Awaitable[None]],
        entrance: Entrance,
    ) -> None:
        self._folders = {OUTBOX: outbox, SUBMIT: submit}
        self._desk = desk
        self._state = os.path.realpath(desk.pending.label)
        self._path = os.path.realpath(outbox.path)
        self._intake = intake
        self._adopt = adopt
        self._entrance = entrance
        entrance.wake = self._call
        self._watch: Watch | None = None
        self._on_trouble: OnTrouble = lambda folder, text: None
        self._covered: set[str] = set()  # Folders on which something is mounted.
        self._told: set[str] = set()  # Files that an event said are complete.
        self._kinds = _RENAMED if intake.by_rename else _WRITTEN
        self.schedule = Schedule(self._take, _LIMIT)

    def start(self, watch: Watch, on_trouble: OnTrouble = lambda folder, text: None) -> None:
        """Watch; what is there already is found by `rescan`.

        `on_trouble` is told, by folder key, why nothing is taken from a folder; None: it is again.
        """
        self._watch = watch
        self._on_trouble = on_trouble
        watch.add(OUTBOX, self._folders[OUTBOX].path, self._kinds | {Kind.FOLDER})
        watch.add(SUBMIT, self._folders[SUBMIT].path, frozenset({Kind.APPEARED}))

    def notice(self, event: Event) -> bool:
        """Handle an event; False if it is about another folder."""
        if event.folder not in self._folders and event.folder not in self._covered:
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
            key = f"{folder}/{file}"
            if told:
                self._told.add(key)
            if not self._entrance.waits(key):
                self.schedule.wake(key)

    def _call(self, key: str) -> None:
        self.schedule.wake(key)

    async def _take(self, key: str) -> float | None:
        folder, _, name = key.rpartition("/")
        if key == _MOUNTS:
            self._look_for_mounts()
            return None
        if not name:
            await self._scan(folder)
            return None
        if folder in self._covered or key in self._covered:
            return None  # What uncovers it has it listed.
        try:
            if folder == SUBMIT:
                await self._take_submitted(key, name)
            elif folder in self._folders:  # Else a pipeline's folder that has gone meanwhile.
                return await self._take_file(key, folder, name)
        except OSError as error:
            if not is_full(error) or not self._entrance.refused(key, error):
                raise
        finally:
            self._entrance.left(key)
        return None

    async def _take_file(self, key: str, folder: str, name: str) -> float | None:
        pipeline = folder.removeprefix(OUTBOX).removeprefix("/") or None
        told = key in self._told
        admit = partial(self._entrance.enter, key)
        source = self._folders[folder]
        taken = await self._intake.take(source, pipeline, name, told=told, admit=admit)
        if taken.again is None and not self._entrance.waits(key):
            self._told.discard(key)
        if taken.exchange is not None:
            self._entrance.entered(key, taken.exchange)
            await self._adopt(taken.exchange, taken.ticket)
        return taken.again

    async def _take_submitted(self, key: str, exchange: str) -> None:
        self._told.discard(key)
        entry = await self._folders[SUBMIT].stat(exchange)
        if entry is None or not await self._entrance.enter(key, entry):
            return
        try:
            await self._folders[SUBMIT].move(exchange, self._desk.pending, exchange)
        except FileNotFoundError:
            return  # Taken already: events are hints.
        log.info("taken", extra={"exchange": exchange, "file": f"{SUBMIT}/{exchange}"})
        self._entrance.entered(key, exchange)
        await self._adopt(exchange, None)

    async def _scan(self, folder: str) -> None:
        self._look_for_mounts()
        if folder in self._covered or not self._is_open(folder):
            return
        for name in await self._oldest_first(self._folders[folder]):
            if folder == OUTBOX and await self._is_pipeline(name):
                await self._scan(f"{OUTBOX}/{name}")
            else:
                self._consider(folder, name)

    async def _oldest_first(self, folder: PosixFolder) -> list[str]:
        """All names; in order where that decides who is taken in, and in none where it doesn't."""
        names = await folder.names()
        if not self._entrance.is_limited:
            return names
        found = await asyncio.to_thread(lambda: list(folder.scan()))
        ages = {each.name: each.changed for each in found}
        return sorted(names, key=lambda name: (ages.get(name, 0), name))

    async def _is_pipeline(self, name: str) -> bool:
        if is_internal(name) or f"{OUTBOX}/{name}" in self._covered:
            return False
        entry = await self._folders[OUTBOX].stat(name)
        return entry is not None and entry.kind is Thing.FOLDER

    def _look_for_mounts(self) -> None:
        """Find out, by the mount table alone, from which folders nothing can be taken now."""
        try:
            table = mounts.read()
        except FileNotFoundError:
            return  # A system without /proc; a file that can't be moved is held, and said to be.
        outbox = self._path
        covered = {f"{OUTBOX}/{name}" for name in mounts.points_in(table, outbox)}
        if mounts.mount_of(table, outbox) != mounts.mount_of(table, self._state):
            covered.add(OUTBOX)
        for folder in covered - self._covered:
            path = outbox + folder.removeprefix(OUTBOX)
            self._on_trouble(
                folder,
                f"{path} is on another mount than {self._state}, so nothing can be taken from it; "
                "unmount it, or mount a folder that holds both",
            )
        for folder in self._covered - covered:
            self._on_trouble(folder, None)
            self.schedule.wake(f"{folder}/")
        self._covered = covered
        if covered:  # Nothing else tells of the end of a mount that was there before us.
            self.schedule.wake_after(_MOUNTS, _MOUNTS_PAUSE)

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
            self._path = os.path.realpath(self._folders[OUTBOX].path)
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
