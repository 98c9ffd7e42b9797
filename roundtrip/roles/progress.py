"""Progress files on Enriched: B writes them while it enriches, both sides read them.

    Progress from the engine --at most once a second--> Enriched/.N.<number>.progress, the older go
    the exchange is answered or withdrawn, or its agent died ------------------> the last one goes

A hint and no part of the state: what goes wrong with it is logged once and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable
from types import TracebackType
from typing import Self

from roundtrip.enrich.results import Progress
from roundtrip.protocol.markers import MAX_BYTES, timestamp
from roundtrip.protocol.progress import ProgressNote, Waiting, progress_name, split_progress
from roundtrip.shares.port import NotAFile, SharedFolder

log = logging.getLogger("roundtrip.roles")

PAUSE = 1.0  # seconds: from the beginning to the first file, and from each file to the next


class ProgressFiles:
    """All progress files of one responder."""

    def __init__(self, enriched: SharedFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = enriched
        self.clock = clock
        self.waiting: set[str] = set()
        """Exchanges that wait for something that takes its time, a quota say."""
        self._own: set[str] = set()
        self._last = 0
        self._told = False

    def reporter(self, exchange: str) -> Reporter:
        """What tells of one exchange while B is at it."""
        return Reporter(self, exchange)

    async def sweep(self, names: Iterable[str]) -> None:
        """Remove those among `names` that no reporter of ours has written: an earlier life's."""
        for name in names:
            if name not in self._own:
                await self.remove(name)

    async def write(self, note: ProgressNote) -> str:
        """Write a note under a new name; returns the name, whether that could be done or not."""
        # By the clock, so that an earlier life's numbers are lower; by one more if it was set back.
        self._last = max(self._last + 1, int(time.time() * 1000))
        name = progress_name(note.exchange, self._last)
        self._own.add(name)
        try:
            await self.folder.put(name, note.encode())
            self._told = False
        except OSError as error:
            self._tell(error)
        return name

    async def remove(self, name: str) -> None:
        """Remove a file that nobody needs any more; one that can't go is left to a sweep."""
        try:
            await self.folder.remove(name)
        except OSError as error:
            self._tell(error)
        self.disown([name])

    def disown(self, names: Iterable[str]) -> None:
        """What is left of these is for a sweep."""
        self._own.difference_update(names)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            log.warning("progress not shown", extra={"error": str(error)})
        self._told = True


class Reporter:
    """Keeps one exchange's progress file up to date, from `report` to the end of a `with` block.

    Nothing is written before the first PAUSE is over, so a short exchange costs nothing.
    """

    def __init__(self, files: ProgressFiles, exchange: str) -> None:
        self._files = files
        self._exchange = exchange
        self._began = files.clock()
        self._due = self._began + PAUSE
        self._latest: Progress | None = None
        self._written: Progress | None = None
        self._names: list[str] = []
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def report(self, progress: Progress) -> None:
        """Take note; called on the event loop, as often as one likes."""
        if self._is_over:
            return
        self._latest = progress
        if progress.waiting is None:
            self._files.waiting.discard(self._exchange)
        else:
            self._files.waiting.add(self._exchange)
        if self._timer is None and self._task is None and progress != self._written:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(self._due - self._files.clock(), 0.0), self._start)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        assert self._latest is not None
        self._written = self._latest
        self._due = self._files.clock() + PAUSE
        fresh = await self._files.write(self._note(self._written))
        self._names, old = [fresh], self._names
        for name in old:
            await self._files.remove(name)
        self._task = None
        if self._is_over:
            self._files.disown(self._names)
        self.report(self._latest)  # Something may have been reported meanwhile.

    def _note(self, progress: Progress) -> ProgressNote:
        stats = progress.stats
        waiting = None if progress.waiting is None else Waiting(progress.waiting, progress.until)
        return ProgressNote(
            exchange=self._exchange,
            done=progress.done,
            records=stats.records,
            ok=stats.ok,
            failed=stats.failed,
            calls=stats.calls,
            cached=stats.cached,
            seconds=self._files.clock() - self._began,
            waiting=waiting,
            created=timestamp(time.time()),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The answer is published or the request withdrawn: the file goes.

        If we are cancelled here, because the share hangs say, the next sweep removes it.
        """
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._files.waiting.discard(self._exchange)
        try:
            if self._task is not None:
                await asyncio.wait([self._task])
            for name in self._names:
                await self._files.remove(name)
        finally:
            self._files.disown(self._names)


async def read_note(folder: SharedFolder, name: str) -> ProgressNote | None:
    """What a progress file says; None if it has gone, or is none."""
    found = split_progress(name)
    if found is None:
        return None
    try:
        return ProgressNote.decode(await folder.read(name, MAX_BYTES), found.exchange)
    except (OSError, NotAFile):
        return None


async def newest_notes(
    folder: SharedFolder, names: Iterable[str], wanted: Container[str]
) -> dict[str, ProgressNote]:
    """The newest note of each exchange in `wanted`, if `names` is a listing of Enriched."""
    newest: dict[str, tuple[int, str]] = {}
    for name in names:
        found = split_progress(name)
        if found is not None and found.exchange in wanted:
            known = newest.get(found.exchange, (-1, ""))
            newest[found.exchange] = max(known, (found.number, name))
    notes = {exchange: await read_note(folder, name) for exchange, (_, name) in newest.items()}
    return {exchange: note for exchange, note in notes.items() if note is not None}
