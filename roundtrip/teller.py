"""Tells a waiting caller how far an exchange is, as B's progress files say."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.protocol.progress import ProgressNote, split_progress
from roundtrip.roles.progress import PAUSE, newest_notes, read_note
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import Event, Kind


class ProgressTeller:
    """Reads one exchange's progress files, at most once a second, and tells what they say.

    They are listed once; after that, events name them.
    """

    def __init__(self, exchange: str, enriched: Path, tell: Callable[[ProgressNote], None]) -> None:
        self._exchange = exchange
        self._enriched = enriched
        self._tell = tell
        self._due = time.monotonic() + PAUSE
        self._listed = False
        self._name: str | None = None  # the newest that has not been told

    def notice(self, events: list[Event]) -> bool:
        """Whether there is something to tell now; an event without a name asks for a listing."""
        for event in events:
            found = split_progress(event.name)
            if not event.name:
                self._listed = False
            elif found and found.exchange == self._exchange and event.kind is Kind.APPEARED:
                self._name = event.name
        return self._name is not None and time.monotonic() >= self._due

    async def tell(self, latest: float) -> float:
        """Tell what is to be told; returns in how many seconds to call this again, or `latest`."""
        left = self._due - time.monotonic()
        if left <= 0:
            note = await self._note()
            if note is not None:
                self._due, left = time.monotonic() + PAUSE, PAUSE
                self._tell(note)
        return left if 0 < left < latest else latest

    async def _note(self) -> ProgressNote | None:
        try:
            with closing(PosixFolder(self._enriched)) as folder:
                return await self._read(folder)
        except (OSError, ShareError):
            return None  # The share is away: a hint less.

    async def _read(self, folder: PosixFolder) -> ProgressNote | None:
        if self._name is None and not self._listed:
            self._listed = True
            found = await newest_notes(folder, await folder.names(), {self._exchange})
            return found.get(self._exchange)
        name, self._name = self._name, None
        return None if name is None else await read_note(folder, name)
