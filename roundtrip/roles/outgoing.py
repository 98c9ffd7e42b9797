"""What is to be delivered beyond the inbox, written before the rename that makes it true.

    collected/N --link-->  deliveries/<delivery>/~N        the content, whatever becomes of inbox/
                           deliveries/<delivery>/N.json    the entry, durable
    collected/N --rename--> inbox/<original name>
                           push                            the runner may try now

A crash before the rename leaves entries of what is not in the inbox: they go at the next start, and
the delivery into the inbox, begun again, writes others. A crash after it leaves entries that are
due.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePath

from roundtrip.deliver.entry import Entry, content_of, file_of
from roundtrip.deliver.settings import DeliverySettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.protocol.markers import Digest, Outcome, ResponseMarker, timestamp
from roundtrip.protocol.names import created_of
from roundtrip.protocol.problem import MAX_BYTES, TYPE_PREFIX, Problem
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS)
"""Where a copy has to do: FAT and some FUSE file systems, or a file of too many names (link(2))."""
_SHORT = 4000  # characters of a problem's detail that an entry holds


@dataclass(frozen=True, slots=True)
class Lane:
    """One configured delivery as the requester sees it. `push` says that an exchange is due."""

    settings: DeliverySettings
    folder: Folder
    shelf: Shelf
    push: Callable[[str], None]


class Sending:
    """The entries of one exchange that is being delivered."""

    def __init__(self, lanes: Sequence[Lane], entry: Entry) -> None:
        self._lanes = lanes
        self._entry = entry

    async def write(self, path: str) -> None:
        """Keep, durably, that the file is to be delivered, and will be at `path`."""
        entry = replace(self._entry, path=path)
        for lane in self._lanes:
            await lane.shelf.write(entry)

    def push(self) -> None:
        """It is there: deliver it."""
        for lane in self._lanes:
            lane.push(self._entry.exchange)


class Outgoing:
    """The lanes that ends of exchanges are written to."""

    def __init__(self, lanes: Sequence[Lane] = (), now: Callable[[], float] = time.time) -> None:
        self._lanes = lanes
        self._now = now

    async def start(self, copies: Collection[str]) -> None:
        """Push what an earlier life left due.

        An exchange among the `copies` in collected/ has not been delivered into the inbox: that
        will be begun again, or never be done, and writes another entry if it is.
        """
        for lane in self._lanes:
            await sweep_parts(lane.folder)
            for exchange in await lane.shelf.entries():
                if exchange in copies:
                    await lane.shelf.remove(exchange)
                else:
                    lane.push(exchange)
            await lane.shelf.drop_orphans()

    async def push(self, exchange: str) -> None:
        """Its delivery into the inbox has happened: what was written of it is due."""
        for lane in self._lanes:
            if await lane.folder.stat(file_of(exchange)):
                lane.push(exchange)

    async def mentioned(self) -> set[str]:
        """The names in failed/ that somebody is still to be told of: they stay until then."""
        found = set()
        for lane in self._lanes:
            if Outcome.FAILED not in lane.settings.on:
                continue
            for exchange in await lane.shelf.due_entries():
                with suppress(ValueError):  # It is told of when it is to be delivered.
                    entry = await lane.shelf.read(exchange)
                    if entry is not None and entry.original is not None:
                        found |= {PurePath(entry.path).name, PurePath(entry.original).name}
                await asyncio.sleep(0)
        return found

    async def sending(
        self,
        exchange: str,
        source: tuple[Folder, str],
        outcome: Outcome | None,
        marker: ResponseMarker | None,
        ticket: Ticket,
        original: str | None,
    ) -> Sending | None:
        """Begin to write what is to be delivered of an exchange; None if nothing is.

        `source` is the private copy of what it ends with, `original` the path of a failed one.
        """
        outcome = outcome or Outcome.ENRICHED
        pipeline = (marker.responder.get("pipeline") if marker else None) or ticket.pipeline
        lanes = [
            lane
            for lane in self._lanes
            if lane.settings.wants(
                outcome.value, pipeline, ticket.original_name, asked=ticket.mail is not None
            )
        ]
        if not lanes:
            return None
        digest, problem = await self._looked_at(source, outcome, marker, exchange)
        now = self._now()
        begun = created_of(exchange)
        entry = Entry(
            exchange=exchange,
            outcome=outcome.value,
            original_name=ticket.original_name,
            path="",
            size=digest.size,
            sha256=digest.sha256,
            created=timestamp(now if begun is None else begun),
            ended=(marker.created if marker else None) or timestamp(now),
            queued=now,
            pipeline=pipeline,
            stats=marker.stats if marker else {},
            problem=problem,
            original=original,
            mail=ticket.mail,
        )
        for lane in lanes:
            await _linked(source, lane.folder, content_of(exchange))
        return Sending(lanes, entry)

    async def _looked_at(
        self,
        source: tuple[Folder, str],
        outcome: Outcome,
        marker: ResponseMarker | None,
        exchange: str,
    ) -> tuple[Digest, dict[str, object]]:
        """The content's digest, and the problem that it tells of, if it does."""
        folder, name = source
        if marker is not None and outcome is not Outcome.FAILED:
            return marker.digest, {}
        with await folder.open(name) as payload:
            digest = await payload.digest()
        if outcome is not Outcome.FAILED:
            return digest, {}
        found = Problem.decode(await folder.read(name, MAX_BYTES), exchange)
        members = {"type": TYPE_PREFIX + found.kind, "title": found.title[:_SHORT],
                   "status": found.status,
                   "detail": found.detail[:_SHORT]}  # fmt: skip
        return digest, {key: value for key, value in members.items() if value is not None}


async def _linked(source: tuple[Folder, str], target: Folder, content: str) -> None:
    """Give the private copy one more name; what an earlier life has left under it goes."""
    folder, name = source
    await target.remove(content)
    try:
        await folder.link(name, target, content)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with await folder.open(name) as payload:
            await target.write(content, payload.source, durable=True)
