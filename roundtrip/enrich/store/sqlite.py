"""`SqliteStore`: the store in one SQLite file on this host's own disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from roundtrip.enrich.store import wishes
from roundtrip.enrich.store.commits import Commits
from roundtrip.enrich.store.desk import Desk
from roundtrip.enrich.store.schema import open_for_reading
from roundtrip.enrich.store.tables import Rows, SqliteCache, SqliteCounters, SqliteLedger
from roundtrip.errors import ShareError

log = logging.getLogger("roundtrip.enrich")

MAX_BYTES = 1024**3  # of cached answers
LOOK = 2.0  # seconds between two looks for wishes


class SqliteStore:
    """Implements `Store`; `ledger`, `cache` and `counters` may be used once it is open.

    The constructor does no I/O. `open` does it on the store's thread, so that a damaged file is
    told at the agent's start and not in the middle of an exchange. All else belongs to the event
    loop that called `open`. The file must be on a local disk: SQLite's locks and shared memory are
    not reliable on a network file system.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._commits: Commits | None = None
        self._opening = asyncio.Lock()
        self._wishes: asyncio.Task[None] | None = None
        self._rows = Rows(path)
        self.ledger = SqliteLedger(self._rows)
        self.cache = SqliteCache(self._rows, clock)
        self.counters = SqliteCounters(self._rows)

    async def open(self) -> None:
        """Open the file, made if it is missing; once is enough, and more does no harm.

        Must be called while the agent's lock is held: only one process may write.
        Raises ShareError.
        """
        async with self._opening:
            if self._commits is not None:
                return
            commits = Commits(self.path)
            await commits.open(lambda: Desk(self.path, self._max_bytes, self._clock))
            try:
                self._rows.open(open_for_reading(self.path), commits)
                self.ledger.load()
                self.counters.load()
                await self._replay(commits)
            except BaseException as error:
                await commits.aclose()
                if isinstance(error, OSError):
                    raise ShareError(f"{self.path}: {error.strerror}") from None
                raise
            self._commits = commits

    async def _replay(self, commits: Commits) -> None:
        """Put the answers in that a killed process could not commit any more."""
        for note in commits.journal.open():
            if self.ledger.get(note.scope, note.key) is None:
                self.ledger.put(*note)
        await commits.durable()
        commits.journal.reset()

    async def room(self) -> None:
        """See `Store.room`."""
        if self._commits is not None:
            await self._commits.room()

    async def durable(self) -> None:
        """See `Store.durable`."""
        if self._commits is not None:
            await self._commits.durable()

    async def aclose(self) -> None:
        """See `Store.aclose`; raises OSError when what is queued can't be written."""
        if self._wishes is not None:
            self._wishes.cancel()
            with suppress(asyncio.CancelledError):
                await self._wishes
            self._wishes = None
        if self._commits is None:
            return
        commits, self._commits = self._commits, None
        self._rows.close()  # first: the last connection to close empties the log into the file
        await commits.aclose()

    async def purge(self, wish: wishes.Wish) -> int:
        """Remove the cached answers that are wished away; returns how many went. Raises OSError.

        What was not written yet when this was called may stay.
        """
        assert self._commits is not None, "open comes first"
        desk, removed, after = self._commits.desk, 0, 0

        def some() -> bool:
            nonlocal removed, after
            count, following = desk.purge(wish, after)
            removed += count
            after = following or after
            return following is not None

        await self._commits.do(some)
        return removed

    def watch_wishes(self, folder: Path) -> None:
        """Fulfil what `roundtrip cache purge` wishes, from when it is open until it is closed."""
        if self._wishes is not None:
            return
        self._wishes = asyncio.get_running_loop().create_task(self._fulfil(folder), name="wishes")

    async def _fulfil(self, folder: Path) -> None:
        while True:
            try:
                for path in wishes.pending(folder):
                    await self._grant(path)
            except OSError as error:
                log.warning("wishes can't be read", extra={"error": str(error)})
            await asyncio.sleep(LOOK)

    async def _grant(self, path: Path) -> None:
        try:
            removed = await self.purge(wishes.read(path))
        except FileNotFoundError:
            return  # withdrawn
        except (OSError, ValueError) as error:
            wishes.refused(path, str(error))
        else:
            wishes.fulfilled(path, removed)
            log.info("cache purged", extra={"removed": removed})
