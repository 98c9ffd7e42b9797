"""The outbox: which of its files are complete, and how they become exchanges.

    outbox/orders.csv             --complete?-->  pending/<ULID>-orders.csv
    outbox/<pipeline>/orders.csv  --complete?-->  the same, with a ticket that names the pipeline

Never half a file: what is complete is told by the event (`close_write`, `moved_to`) or by the
producer's own `FILE.done` (`done`), and whatever told it, nobody may still have the file open for
writing. Names that editors and transfer tools use for what is in flight are left alone.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import NamedTuple

from roundtrip.protocol.names import MARKER_SUFFIX, Namer
from roundtrip.roles import ticket as tickets
from roundtrip.roles.desk import Desk, free_names, moved
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Entry, Folder, Kind

log = logging.getLogger("roundtrip.roles")

IN_FLIGHT = (
    ".*",  # rsync, sftp tools, Samba, NFS's .nfs*, vim's .swp
    "*~",  # editors' backups
    "#*#",  # Emacs' auto-save
    "4913",  # vim's probe of a folder's permissions, made and removed at once
    "*.tmp",
    "*.temp",
    "*.part",
    "*.partial",
    "*.filepart",  # WinSCP
    "*.crdownload",
    "*.download",
    "*.swp",
    "*.swx",
    "*.!*",
)
"""Names that are never taken from the outbox, in lower case; from Windows they come in capitals."""

_NAME_MAX = 255  # bytes, Linux's limit for one name (path_resolution(7))
_BUSY_DELAY = 1.0
_EMPTY_SETTLE = 1.0  # touch(1) and some FTP servers close a file empty before they write it
# For a file that a listing found and that was written lately, where the kernel doesn't tell whether
# somebody is still writing it.
_UNSURE_AGE = 10.0


def _matcher(globs: Sequence[str]) -> Callable[[str], object]:
    """One expression for all globs: each name in the outbox is held against it."""
    return re.compile("|".join(map(translate, globs)) or r"(?!)").match


_is_in_flight = _matcher(IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How files in the outbox are known to be complete.

    `settle` is how long, in seconds, a file must be unchanged as well; `ignore` are globs beside
    the built-in ones.
    """

    complete: str = "close_write"  # close_write | moved_to | done
    settle: float = 0.0
    ignore: tuple[str, ...] = ()


class Taken(NamedTuple):
    """What became of a candidate: the exchange that it is now, or when to try again, or neither."""

    exchange: str | None = None
    again: float | None = None
    ticket: Ticket | None = None


class _Seen(NamedTuple):
    entry: Entry
    since: float


class Intake:
    """Takes complete files from the outbox and its pipeline folders."""

    def __init__(
        self,
        desk: Desk,
        settings: OutboxSettings,
        namer: Namer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._settings = settings
        self._namer = namer
        self._clock = clock
        self.by_rename = settings.complete == "moved_to"
        self._by_marker = settings.complete == "done"
        self._is_unwanted = _matcher(settings.ignore)
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._refused: set[tuple[str, str]] = set()

    def candidate(self, name: str) -> str | None:
        """The file that a name in the outbox makes worth a look; None if it is none to take.

        A producer's marker and its file may come in any order, so each stands for the file.
        """
        if name.endswith(MARKER_SUFFIX) and not self._by_marker:
            return None
        file = name.removesuffix(MARKER_SUFFIX)
        return file if file and not self._is_ignored(file) else None

    def _is_ignored(self, file: str) -> bool:
        return bool(_is_in_flight(file.lower()) or self._is_unwanted(file))

    async def take(
        self,
        folder: Folder,
        pipeline: str | None,
        name: str,
        *,
        told: bool = False,
        admit: Callable[[Entry], Awaitable[bool]] | None = None,
    ) -> Taken:
        """Make the file an exchange, if it is there, is a file, and nobody writes to it.

        `told` is whether an event said that it is complete; a listing says nothing of the kind.
        A file that is complete is left where it is unless `admit` lets it in.
        """
        key = (folder.label, name)
        entry = await folder.stat(name)
        if entry is None or entry.kind is not Kind.FILE:
            self._refuse(key, entry)
            return Taken()
        if self._by_marker and not await self._is_marked(folder, name):
            return Taken()
        try:
            # An event's word is checked after the move; what a listing found, before it as well, so
            # that a slow writer's file isn't moved there and back again and again.
            writing = None if told else await folder.is_being_written(name)
            if (left := self._unsettled(key, entry, sure=told or writing is False)) > 0:
                return Taken(again=left)
            if writing:
                return Taken(again=_BUSY_DELAY)
            if admit is not None and not await admit(entry):
                return Taken()
            taken = await self._admit(folder, pipeline, name)
        except FileNotFoundError:
            self._seen.pop(key, None)
            return Taken()  # Its producer took it back.
        self._seen.pop(key, None)
        if taken.exchange is not None:
            fields = {"exchange": taken.exchange, "file": name, "size": entry.size}
            log.info("taken", extra=fields)
        return taken

    async def _is_marked(self, folder: Folder, name: str) -> bool:
        marker = name + MARKER_SUFFIX
        fits = len(os.fsencode(marker)) <= _NAME_MAX
        return fits and await folder.stat(marker) is not None

    def _refuse(self, key: tuple[str, str], entry: Entry | None) -> None:
        self._seen.pop(key, None)
        if entry is None or entry.kind is Kind.FOLDER:
            self._refused.discard(key)
        elif key not in self._refused:
            self._refused.add(key)
            log.warning("not a regular file; left where it is", extra={"file": "/".join(key)})

    def _unsettled(self, key: tuple[str, str], entry: Entry, *, sure: bool) -> float:
        """Seconds that the file must still stay as it is before it is believed to be complete."""
        settle = self._settings.settle
        if not sure and time.time() - entry.changed / 1e9 < _UNSURE_AGE:
            settle = max(settle, _UNSURE_AGE)
        if entry.size == 0:
            settle = max(settle, _EMPTY_SETTLE)
        if not settle:
            return 0.0
        seen = self._seen.get(key)
        if seen is None or seen.entry != entry:
            seen = self._seen[key] = _Seen(entry, self._clock())
        return seen.since + settle - self._clock()

    async def _admit(self, folder: Folder, pipeline: str | None, name: str) -> Taken:
        exchange = self._namer(name)
        wanted = Ticket(name, pipeline)
        if wanted != tickets.implied(exchange):
            await self._desk.tickets.put(tickets.file_of(exchange), wanted.encode(), durable=True)
        try:
            await folder.move(name, self._desk.pending, exchange)
        except OSError:
            await self._desk.tickets.remove(tickets.file_of(exchange))
            raise
        # Under its new name nobody can open it any more, so this look is the one that counts.
        try:
            writing = await self._desk.pending.is_being_written(exchange)
        except OSError:
            await self._give_back(exchange, folder, name)  # To be looked at once more.
            raise
        if writing:
            await self._give_back(exchange, folder, name)
            return Taken(again=_BUSY_DELAY)
        if self._by_marker:
            await folder.remove(name + MARKER_SUFFIX)
        return Taken(exchange, ticket=wanted)

    async def _give_back(self, exchange: str, folder: Folder, name: str) -> None:
        """Somebody opened the file for writing while it was being taken."""
        for free in free_names(name, exchange):
            if await moved(self._desk.pending, exchange, folder, free):
                break
        await self._desk.tickets.remove(tickets.file_of(exchange))
