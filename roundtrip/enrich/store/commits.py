"""`Commits`: what is queued on the event loop, on its way to the disk by one thread.

    put --> queued --(thread is free)--> writing --(on disk)--> gone
    look-ups see both; `durable` waits for what is queued, else for what is being written

At most one batch is being written. All that comes meanwhile is the next one: a group commit whose
size follows from how long the disk takes. Commits that nobody waits for keep a little distance, as
each costs about as much as a call of a fast API.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from roundtrip.enrich.store.batch import Batch
from roundtrip.enrich.store.desk import Desk
from roundtrip.enrich.store.journal import Journal
from roundtrip.enrich.store.schema import AWAY

log = logging.getLogger("roundtrip.enrich")

RETRY = 1.0  # seconds before what could not be written is tried again
SPACING = 0.02  # seconds from one commit to the next, unless somebody waits for it
REST = 1.0  # seconds between a commit and the tidying up after it
PATIENCE = 0.001  # seconds that the thread may fight for the interpreter, see `_help`
STILL = 0.0002  # seconds that the loop stands still for it
BUSY = 0.9  # share of the time that the loop works, from which on it never gives way by itself

T = TypeVar("T")


class Commits:
    """The queue and its thread; everything here belongs to one event loop."""

    def __init__(self, path: Path) -> None:
        self.queued = Batch()
        self.writing: Batch | None = None
        self.journal = Journal(path)
        self._path = path
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "ledger")
        self._loop = asyncio.get_running_loop()
        self._needed = asyncio.Event()
        self._hurry = asyncio.Event()  # somebody waits for what is queued
        self._began = 0.0  # the last commit, on the clock `time.monotonic`
        self._failure: OSError | None = None
        self._for_room: list[asyncio.Future[None]] = []
        self._jobs: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._closing = asyncio.Event()
        self._tidy_at: float | None = 0.0  # on the clock `time.monotonic`
        self.desk: Desk
        self._worker: asyncio.Task[None] | None = None

    async def open(self, make: Callable[[], Desk]) -> Desk:
        """Open the desk on the thread, and start."""
        try:
            self.desk = await self._run(make)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self._worker = self._loop.create_task(self._work(), name="ledger")
        return self.desk

    def grew(self, size: int) -> None:
        """A row of so many bytes was put into `queued`."""
        self.queued.grew(size)
        self._needed.set()

    async def durable(self) -> None:
        """See `Store.durable`."""
        batch = self.queued if self.queued.rows else self.writing
        if batch is None:
            return
        if self._failure is not None:
            raise _anew(self._failure)
        self._hurry.set()
        await self._one_of(batch.waiting)

    async def room(self) -> None:
        """See `Store.room`."""
        while True:
            if self._failure is not None:
                raise _anew(self._failure)
            if not self.queued.full:
                return
            self._hurry.set()
            await self._one_of(self._for_room)

    async def do(self, job: Callable[[], bool]) -> None:
        """Have the thread call `job` until it returns False, with commits in between."""
        done = self._loop.create_future()
        self._jobs.append((job, done))
        self._needed.set()
        await done

    async def aclose(self) -> None:
        """Write what is queued, and close. Raises OSError when that can't be written."""
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        self._closing.set()
        self._needed.set()
        self._hurry.set()
        try:
            await worker
        finally:
            with suppress(sqlite3.Error):
                await self._run(self.desk.close)
            self._thread.shutdown(wait=False)
            self.journal.close()
        if self._failure is not None:
            raise _anew(self._failure)

    async def _work(self) -> None:
        while not self._closing.is_set():
            self._needed.clear()
            if self.queued.rows or self.writing is not None:
                await _wait(self._hurry, self._began + SPACING)
                await self._commit()
            elif self._jobs:
                await self._next_slice()
            elif self._tidy_at is not None and time.monotonic() >= self._tidy_at:
                await self._tidy()
            else:
                await _wait(self._needed, self._tidy_at)
        while self.queued.rows or self.writing is not None:
            await self._commit()
            if self._failure is not None:
                break
        self._answer(OSError(errno.EBADF, "the ledger was closed", str(self._path)))

    async def _commit(self) -> None:
        self._began = time.monotonic()
        self._hurry.clear()
        if self.writing is None:
            self.writing, self.queued = self.queued, Batch()
            self.journal.swap()
            _settle(self._for_room)
        try:
            await self._run(partial(self.desk.commit, self.writing))
        except Exception as error:  # whatever it is: who waits must be told
            await self._failed(error)
            return
        if self._failure is not None:
            log.info("ledger can be written again", extra={"file": str(self._path)})
        self._failure = None
        written, self.writing = self.writing, None
        self.journal.written()
        _settle(written.waiting)
        if self._tidy_at is None:
            self._tidy_at = time.monotonic() + REST

    async def _failed(self, error: Exception) -> None:
        """Keep what was to be written, tell those who wait, and try again after a while."""
        if self._failure is None:
            log.error("ledger can't be written", extra={"error": str(error)})
        self._failure = as_os_error(self._path, error)
        self._answer(self._failure)
        await _wait(self._closing, time.monotonic() + RETRY)

    def _answer(self, error: OSError) -> None:
        for batch in (self.writing, self.queued):
            if batch is not None:
                _settle(batch.waiting, error)
        _settle(self._for_room, error)
        _settle([done for _, done in self._jobs], error)
        self._jobs.clear()

    async def _next_slice(self) -> None:
        job, done = self._jobs[0]
        try:
            if await self._run(job):
                return
        except Exception as error:
            _settle([done], as_os_error(self._path, error))
        else:
            _settle([done])
        self._jobs.pop(0)

    async def _tidy(self) -> None:
        try:
            if not await self._run(self.desk.tidy):
                self._tidy_at = None
        except Exception as error:
            log.warning("ledger can't be tidied", extra={"error": str(error)})
            self._tidy_at = time.monotonic() + 60 * REST

    async def _one_of(self, waiting: list[asyncio.Future[None]]) -> None:
        done = self._loop.create_future()
        waiting.append(done)
        await done

    async def _run(self, job: Callable[[], T]) -> T:
        running = self._thread.submit(job)
        self._watched = time.monotonic(), time.thread_time()
        self._helping = self._loop.call_later(PATIENCE, self._help, running, PATIENCE)
        try:
            return await asyncio.wrap_future(running)
        finally:
            self._helping.cancel()

    def _help(self, running: concurrent.futures.Future[T], patience: float) -> None:
        """Stand still for a moment, so that the thread gets the interpreter.

        A loop that is always busy in short turns seldom gives it up for long enough: CPython's
        request to drop it needs 5 ms in one go. Without this, a commit beside a busy loop was seen
        to take seconds. A slow disk can't be told from that, so the loop waits ever more seldom.
        """
        began, worked = self._watched
        self._watched = now, working = time.monotonic(), time.thread_time()
        if working - worked > BUSY * (now - began):
            concurrent.futures.wait([running], timeout=STILL)
        if not running.done():
            patience *= 2
            self._helping = self._loop.call_later(patience, self._help, running, patience)


def as_os_error(path: Path, error: Exception) -> OSError:
    """What callers are told of an error: which file, and what happens next."""
    kind = getattr(error, "sqlite_errorname", "")
    number = errno.ENOSPC if kind == "SQLITE_FULL" else errno.EIO
    advice = AWAY if kind.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) else "tried again"
    return OSError(number, f"the ledger can't be used now ({error}); {advice}", str(path))


def _anew(error: OSError) -> OSError:
    """The same error for one more to raise: each needs a traceback of its own."""
    return OSError(error.errno, error.strerror, error.filename)


def _settle(waiting: list[asyncio.Future[None]], error: OSError | None = None) -> None:
    """Let all go on who wait, or give each the error."""
    for future in waiting:
        if future.done():  # cancelled
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(_anew(error))
    waiting.clear()


async def _wait(event: asyncio.Event, until: float | None) -> None:
    """Wait for the event, but not beyond `until` (on the clock `time.monotonic`)."""
    if event.is_set() or (until is not None and until <= time.monotonic()):
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(None if until is None else until - time.monotonic()):
            await event.wait()
