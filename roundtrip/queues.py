"""The queues of deliveries as commands see them: from their folders, whether an agent runs or not.

state/deliveries/<delivery>/         due: tried now and then
state/deliveries/<delivery>/dead/    tried no more, until somebody asks for it
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from roundtrip.config import Settings
from roundtrip.deliver.engine import wish_of
from roundtrip.deliver.entry import DEAD, Entry, content_of, exchange_of
from roundtrip.deliver.shelf import Shelf
from roundtrip.errors import InputError, ShareError
from roundtrip.places import Places
from roundtrip.shares.posix import PosixFolder

_TICK = 1_000_000_000  # ns; more than any file system's times are apart
_READ = 1000  # entries of one queue that are read for a summary; the others are only counted


@dataclass(frozen=True, slots=True)
class Item:
    """One parcel in a queue. `entry` is None where its file can't be read."""

    delivery: str
    exchange: str
    is_dead: bool
    entry: Entry | None

    @property
    def id(self) -> str:
        """As receivers know it."""
        return f"{self.exchange}/{self.delivery}"

    def as_dict(self) -> dict[str, Any]:
        """For `--json` output; times of day are seconds since 1970."""
        entry = self.entry
        found: dict[str, Any] = {
            "id": self.id,
            "delivery": self.delivery,
            "exchange": self.exchange,
            "state": "dead" if self.is_dead else "due",
        }
        if entry is not None:
            names = ("outcome", "original_name", "path", "attempts", "error", "queued", "next")
            found |= {name: getattr(entry, name) for name in names}
        return found


class Queue:
    """One delivery's folder; `is_known` tells whether it is configured (still)."""

    def __init__(self, folder: Path, *, is_known: bool) -> None:
        self.name = folder.name
        self.folder = folder
        self.is_known = is_known

    async def items(self) -> list[Item]:
        """All that is in it, what is due first, each the oldest first."""
        with self._opened() as (due, dead):
            shelf = Shelf(due, dead)
            gone = await shelf.dead_entries()
            exchanges = {found for name in await due.names() if (found := exchange_of(name))}
            waiting = sorted(exchanges.difference(gone))
            return [
                *[await self._item(shelf, exchange, is_dead=False) for exchange in waiting],
                *[await self._item(shelf, exchange, is_dead=True) for exchange in gone],
            ]

    async def _item(self, shelf: Shelf, exchange: str, *, is_dead: bool) -> Item:
        try:
            entry = await (shelf.read_dead(exchange) if is_dead else shelf.read(exchange))
        except ValueError:
            entry = None
        return Item(self.name, exchange, is_dead, entry)

    async def summary(self) -> dict[str, Any]:
        """How many are due, failing (tried in vain) and dead, and the last of their errors."""
        with self._opened() as (due, dead):
            shelf = Shelf(due, dead)
            gone = await shelf.dead_entries()
            exchanges = {found for name in await due.names() if (found := exchange_of(name))}
            waiting = sorted(exchanges.difference(gone))
            items = [
                await self._item(shelf, exchange, is_dead=False)
                for exchange in islice(waiting, _READ)
            ]
            items += [await self._item(shelf, exchange, is_dead=True) for exchange in gone[-1:]]
        entries = [(item, item.entry) for item in items if item.entry is not None]
        tried = [(item, entry) for item, entry in entries if entry.error is not None]
        failing = [(item, entry) for item, entry in tried if not item.is_dead]
        last = max(failing or tried, key=lambda each: each[1].next or 0.0, default=None)
        queued = [entry.queued for item, entry in entries if not item.is_dead]
        return {
            "delivery": self.name,
            "configured": self.is_known,
            "due": len(waiting),
            "failing": len(failing),
            "dead": len(gone),
            "oldest": round(max(time.time() - min(queued), 0.0), 1) if queued else None,
            "error": None if last is None else last[1].error,
            "exchange": None if last is None else last[0].exchange,
        }

    async def retry(self, item: Item) -> None:
        """Let it be tried as soon as possible, as if it had not been tried before.

        Raises:
            InputError: it is gone, or can't be read.
        """
        with self._opened() as (due, dead):
            shelf = Shelf(due, dead)
            try:
                if not await _due_again(shelf, item):
                    raise InputError(f"{item.id}: it has been delivered or dropped meanwhile")
            except ValueError as error:
                raise InputError(f"{item.id}: its entry can't be read: {error}") from None
        with closing(PosixFolder(self.folder.parent)) as wishes:
            wish = wish_of(item.exchange, item.delivery)
            await wishes.remove(wish)
            await wishes.put(wish, b"")

    async def drop(self, item: Item) -> None:
        """Deliver it never."""
        with self._opened() as (due, dead):
            shelf = Shelf(due, dead)
            await (shelf.forget(item.exchange) if item.is_dead else shelf.remove(item.exchange))

    def _opened(self) -> _Opened:
        return _Opened(self.folder)


async def _due_again(shelf: Shelf, item: Item) -> bool:
    """Make it due as if it had not been tried; False if the agent was quicker."""
    if item.is_dead:
        return await shelf.exhume(item.exchange, time.time())
    entry = await shelf.read(item.exchange)
    if entry is None:
        return False
    await shelf.write(entry.anew(time.time()))
    if await shelf.due.stat(content_of(item.exchange)) is None:  # Delivered in between.
        await shelf.remove(item.exchange)
        return False
    return True


class _Opened:
    """The two folders of a queue, open for a block; made where they are missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> tuple[PosixFolder, PosixFolder]:
        dead = self._folder / DEAD
        try:
            dead.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ShareError(f"{dead}: can't be used: {error.strerror}") from None
        due = self._stack.enter_context(closing(PosixFolder(self._folder)))
        return due, self._stack.enter_context(closing(PosixFolder(dead)))

    def __exit__(self, *error: object) -> None:
        self._stack.close()


class DeadCounts:
    """How many parcels of each configured delivery are dead; commands change that, too.

    A folder is listed again only when it has changed: this is asked at every scrape.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        own = settings.deliveries if settings.role == "a" else ()
        self._folders = {each.name: places.deliveries / each.name / DEAD for each in own}
        self._known: dict[str, tuple[int, int]] = {}

    def look(self) -> dict[str, int]:
        """The counts by delivery; one whose folder can't be read is left out. Blocks."""
        found = {}
        for name, folder in self._folders.items():
            try:
                found[name] = self._count(name, folder)
            except OSError:  # Not made yet, or not for this user.
                continue
        return found

    def _count(self, name: str, folder: Path) -> int:
        changed = folder.stat().st_mtime_ns
        stamp, count = self._known.get(name, (0, 0))
        if stamp != changed:
            count = sum(exchange_of(entry.name) is not None for entry in os.scandir(folder))
            # Within one tick of the kernel's clock, the next change has the same time.
            settled = time.time_ns() - changed > _TICK
            self._known[name] = (changed if settled else 0, count)
        return count


def queues(settings: Settings, places: Places) -> Iterator[Queue]:
    """The queues of all configured deliveries, and of those that have left something behind."""
    known = {each.name for each in settings.deliveries}
    found = {path.name for path in _folders(places)}
    for name in sorted(known & found):
        yield Queue(places.deliveries / name, is_known=True)
    for name in sorted(found - known):
        queue = Queue(places.deliveries / name, is_known=False)
        if any(exchange_of(path.name) for path in queue.folder.glob("**/*")):
            yield queue


def _folders(places: Places) -> list[Path]:
    try:
        return [path for path in places.deliveries.iterdir() if path.is_dir()]
    except OSError:
        return []
