"""The queue of one delivery on disk: entries and contents, each step so that a crash is no harm.

An entry is what counts: one without its content is damaged, a content without its entry is nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from roundtrip.deliver.entry import (
    MAX_BYTES,
    Entry,
    content_of,
    decode,
    exchange_of,
    file_of,
    owner_of,
)


class Store(Protocol):
    """What a queue needs of a folder; `shares.port.Folder` has it, and more."""

    label: str

    async def names(self) -> list[str]:
        """All names, in no order."""

    async def stat(self, name: str) -> object | None:
        """What `name` stands for; None if it isn't there."""

    async def read(self, name: str, limit: int) -> bytes:
        """The content of a small file, cut off one byte after `limit`."""

    async def replace(self, name: str, content: bytes) -> None:
        """Durably put `content` in place of `name`."""

    async def remove(self, name: str) -> bool:
        """Remove `name`; False if it wasn't there."""

    async def move(self, name: str, to: Any, new_name: str, *, durable: bool = False) -> None:
        """Rename into `to`, another such folder, where `new_name` isn't taken."""


class Shelf:
    """What one delivery has due, and what of it is dead."""

    def __init__(self, due: Store, dead: Store) -> None:
        self.due = due
        self.dead = dead

    async def entries(self) -> list[str]:
        """The exchanges that are due, the oldest first; finishes what a crash cut short.

        What is both due and dead was about to become the one or the other, and is due.
        """
        exchanges = await self.due_entries()
        for exchange in exchanges & set(await self.dead_entries()):
            await self._revive(exchange)
        return sorted(exchanges)

    async def due_entries(self) -> set[str]:
        """The exchanges that are due, as they are."""
        return {exchange for name in await self.due.names() if (exchange := exchange_of(name))}

    async def dead_entries(self) -> list[str]:
        """The exchanges that nobody tries to deliver any more, the oldest first."""
        names = await self.dead.names()
        return sorted(exchange for name in names if (exchange := exchange_of(name)))

    async def drop_orphans(self) -> None:
        """Remove contents without an entry: a crash came between the two."""
        names = set(await self.due.names())
        for name in names:
            owner = owner_of(name)
            if owner is not None and file_of(owner) not in names:
                await self.due.remove(name)

    async def read(self, exchange: str) -> Entry | None:
        """The entry; None if there is none any more.

        Raises:
            ValueError: there is one, but it can't be read; in one line.
        """
        return await _read(self.due, exchange)

    async def has(self, exchange: str) -> bool:
        """Whether it is still due."""
        return await self.due.stat(file_of(exchange)) is not None

    async def read_dead(self, exchange: str) -> Entry | None:
        """The same of a dead one."""
        return await _read(self.dead, exchange)

    async def write(self, entry: Entry) -> None:
        """Keep an entry, durably."""
        await self.due.replace(file_of(entry.exchange), entry.encode())

    async def remove(self, exchange: str) -> bool:
        """It is over; False if it was already. The entry goes first: it is what counts."""
        found = await self.due.remove(file_of(exchange))
        await self.due.remove(content_of(exchange))
        return found

    async def bury(self, entry: Entry) -> None:
        """Nobody tries any more: the entry is written there before anything goes from here."""
        await self.dead.replace(file_of(entry.exchange), replace(entry, next=None).encode())
        await _carry(entry.exchange, self.due, self.dead)
        await self.due.remove(file_of(entry.exchange))

    async def exhume(self, exchange: str, queued: float) -> bool:
        """Make a dead one due again, as if it had not been tried; False if there is none.

        An agent may begin meanwhile: the entry goes first, so that it finds no lonely content.

        Raises:
            ValueError: its entry can't be read; in one line.
        """
        entry = await self.read_dead(exchange)
        if entry is None:
            return False
        await self.write(entry.anew(queued))
        await self._revive(exchange)
        return True

    async def _revive(self, exchange: str) -> None:
        await _carry(exchange, self.dead, self.due)
        await self.dead.remove(file_of(exchange))

    async def forget(self, exchange: str) -> bool:
        """Drop a dead one for good; False if there is none."""
        found = await self.dead.remove(file_of(exchange))
        await self.dead.remove(content_of(exchange))
        return found


async def _read(store: Store, exchange: str) -> Entry | None:
    try:
        content = await store.read(file_of(exchange), MAX_BYTES)
    except FileNotFoundError:
        return None
    return decode(content, exchange)


async def _carry(exchange: str, source: Store, target: Store) -> None:
    """Rename a content into `target`; what an earlier try has left there goes."""
    name = content_of(exchange)
    if await source.stat(name) is None:
        return
    await target.remove(name)
    with suppress(FileNotFoundError):
        await source.move(name, target, name, durable=True)
