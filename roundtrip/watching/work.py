"""A watch at work: a name is told -> is it complete -> was it handled -> run -> remember.

told or listed --> due --> looked at --+--> handled already: nothing
                    ^                  +--> not complete: due again later
                    |                  +--> run --> done | failed --> retry later | dead letter
                    +---- told again while it was running
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from roundtrip.errors import InputError, RoundtripError
from roundtrip.watching import finding
from roundtrip.watching.claim import Outcome
from roundtrip.watching.ends import Ends
from roundtrip.watching.finding import Found, NotYet
from roundtrip.watching.journal import FAILED, RETRY, Entry
from roundtrip.watching.placeholders import fill, values_of
from roundtrip.watching.plan import Plan
from roundtrip.watching.readiness import BUSY, FOUND, Readiness
from roundtrip.watching.run import Job, NotStarted
from roundtrip.watching.runner import Lost, NotRun, Runner
from roundtrip.watching.telling import Teller

_NO_ROOM_DELAY = 5.0  # seconds until a run is tried again that could not be begun


class Work:
    """Handles files as they are told of. Made inside a running event loop.

    `runner` is None if files are only told. `listing` says whether some are still to be found.
    """

    def __init__(
        self, plan: Plan, top: str, ends: Ends, teller: Teller, runner: Runner | None
    ) -> None:
        self._plan = plan
        self._top = top
        self._ends = ends
        self._journal = ends.journal
        self._teller = teller
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self._place = finding.Place(top)
        self._ready = Readiness(plan, teller)
        self._due: OrderedDict[str, str] = OrderedDict()  # path -> event
        self._busy: dict[str, asyncio.Task[None] | None] = {}  # None: an earlier watch's run
        self._again: dict[str, str] = {}  # told of while it was busy
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._left: set[str] = set()  # for the next run with --once: not complete now
        self._pause: asyncio.TimerHandle | None = None  # while nothing can be begun
        self._why = ""
        self._stopping = False
        self._idle = asyncio.Event()
        self.hindered = 0
        """Files that could not be looked at, or whose command could not be started (--once)."""
        self.listing: Callable[[], bool] = lambda: False
        self.reader_has_gone: Callable[[], bool] = lambda: False
        self.on_error: Callable[[BaseException], None] = lambda error: None

    async def until_idle(self) -> None:
        """Wait until nothing is left to do: with --once, or after `stop`."""
        await self._idle.wait()

    def running(self) -> int:
        """How many runs are under way."""
        return sum(task is not None for task in self._busy.values())

    def stop(self) -> None:
        """Begin nothing more; `until_idle` then waits for what is under way."""
        self._stopping = True
        self._due.clear()
        for timer in [*self._timers.values(), *([self._pause] if self._pause else [])]:
            timer.cancel()
        self._timers.clear()
        self._settle()

    def close(self) -> None:
        """Begin nothing more, and wait for nothing: runs go on by themselves."""
        self.stop()
        for task in self._busy.values():
            if task is not None:
                task.cancel()

    @contextmanager
    def held(self, path: str) -> Iterator[None]:
        """A run of an earlier watch is still going on: leave the file alone meanwhile."""
        self._busy[path] = None
        try:
            yield
        finally:
            self._free(path)

    def consider(self, path: str, event: str) -> None:
        """A path may be one of a file that is to be handled; `pump` then begins."""
        if self._stopping:
            return
        if path in self._busy:
            self._again[path] = event
            return
        timer = self._timers.pop(path, None)
        if timer is not None:
            timer.cancel()
        if event != FOUND or path not in self._due:
            self._due[path] = event

    def pump(self) -> None:
        """Begin what may begin."""
        while self._may_begin():
            path, event = self._due.popitem(last=False)
            try:
                self._look(path, event)
            except (BrokenPipeError, RoundtripError) as error:  # Nobody is told any more.
                self.on_error(error)
                return
            except OSError as error:
                self._hinder(path, event, error)
        self._settle()

    def _may_begin(self) -> bool:
        free = self.running() < self._plan.concurrency
        may = bool(self._due) and free and self._pause is None and not self._stopping
        return may and not self.reader_has_gone()

    def _settle(self) -> None:
        if self._stopping:
            waits = self.running() > 0
        else:
            waits = bool(self._due or self._busy or self._timers or self.listing())
        if not waits and (self._plan.once or self._stopping):
            self._idle.set()

    # One file

    def _look(self, path: str, event: str) -> None:
        if path in self._left:
            return
        full = os.path.join(self._top, path)
        found = finding.look(full, numbered=self._place.numbered)
        if found is None:
            self._gone(path)
            return
        known = self._journal.get(path)
        if known is not None and (known.identity != found.identity or known.dead is not None):
            known = None  # Another file, or one that was put back from the dead letters.
        if known is not None:
            if known.outcome != RETRY:
                return
            if (wait := self._ends.wait_of(known)) > 0:
                self._later(path, wait, event, always=True)
                return
        again = self._ready.wait_of(path, full, found, event)
        if again is None:
            self._begin(path, event, found, known)
        elif again > 0:
            self._later(path, again, event)

    def _hinder(self, path: str, event: str, error: OSError) -> None:
        self.hindered += 1
        self._teller.trouble(f"{self._teller.shown(path)}: {error.strerror or error}")
        self._later(path, BUSY, event)

    def _gone(self, path: str) -> None:
        """Forget a file; not if it may be that only its file system has gone."""
        self._ready.forget(path)
        known = self._journal.get(path)
        if known is not None and (known.place == self._place.now(path) or known.is_old()):
            self._ends.forget(path)

    def _later(self, path: str, seconds: float, event: str, *, always: bool = False) -> None:
        """Look again; with --once, only if the file is complete and waits for its next try."""
        if self._plan.once and not always:
            self._left.add(path)
        elif not self._stopping:
            self._timers[path] = self._loop.call_later(seconds, self._due_again, path, event)

    def _due_again(self, path: str, event: str) -> None:
        del self._timers[path]
        self._due[path] = event
        self.pump()

    # One run

    def _begin(self, path: str, event: str, found: Found, known: Entry | None) -> None:
        entry = Entry(
            path=path,
            identity=found.identity,
            outcome=FAILED,  # Until it is known better.
            run=self._journal.next_run(),
            place=self._place.now(path),
            attempts=known.attempts + 1 if known else 1,
            interruptions=known.interruptions if known else 0,
        )
        if self._runner is None and self._plan.on != "done":
            self._ends.told(entry, event, found.size)
            return
        task = self._loop.create_task(self._handle(entry, event, found.size))
        self._busy[path] = task
        task.add_done_callback(lambda done: self._ended(path, done))

    async def _handle(self, entry: Entry, event: str, size: int) -> None:
        full = os.path.join(self._top, entry.path)
        try:
            if self._plan.on == "done":  # In a thread: a large file is read for a while.
                await asyncio.to_thread(finding.check_marker, full, digest=True)
        except NotYet as error:
            self._later(entry.path, self._ready.doubt(entry.path, error), event)
            return
        except OSError as error:
            self._hinder(entry.path, event, error)
            return
        self._ready.forget(entry.path)
        if self._runner is None:
            self._ends.told(entry, event, size)
        else:
            await self._run(entry, event, size, self._runner)

    async def _run(self, entry: Entry, event: str, size: int, runner: Runner) -> None:
        assert self._plan.command is not None
        values = values_of(self._top, entry.path, event, size, entry.attempts)
        try:
            arguments = fill(self._plan.command, values)
        except InputError as error:
            self._ends.ended(entry, Outcome(None, 0.0, str(error)), event, size, final=True)
            return
        job = Job(
            entry=entry,
            arguments=arguments,
            timeout=self._plan.timeout,
            quiet_stdout=self._plan.quiet_stdout,
            path=values["path"] if self._plan.in_place else None,
            numbered=self._place.numbered,
        )
        try:
            outcome = await runner.run(job)
        except (NotRun, NotStarted) as error:
            if self._plan.once and isinstance(error, NotStarted):
                self.hindered += 1
                self._left.add(entry.path)
                self._say_once(entry.path, str(error))
            else:
                self._hold_up(entry.path, event, str(error))
        except Lost:
            await self._ends.settle(entry)
        else:
            self._why = ""
            self._ends.ended(entry, outcome, event, size)

    def _hold_up(self, path: str, event: str, why: str) -> None:
        """Nothing can be run now, this file or another: try again later, and say so once."""
        self._say_once(path, why)
        self._again.setdefault(path, event)
        if self._pause is None:
            self._pause = self._loop.call_later(_NO_ROOM_DELAY, self._go_on)

    def _say_once(self, path: str, why: str) -> None:
        if why != self._why:
            self._why = why
            self._teller.trouble(f"{self._teller.shown(path)}: not run now: {why}")

    def _go_on(self) -> None:
        self._pause = None
        self.pump()

    def _ended(self, path: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_error(error)
        self._free(path)

    def _free(self, path: str) -> None:
        """Look again: changed meanwhile, to be tried again, or gone, often by the command."""
        del self._busy[path]
        event = self._again.pop(path, FOUND)
        if not self._stopping and path not in self._timers:
            self._due[path] = event
        self.pump()
