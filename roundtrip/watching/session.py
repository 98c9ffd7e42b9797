"""One `roundtrip watch` from start to end: state, runner, loop, signals, exit code."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import stat
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from roundtrip.errors import ExitCode, InputError, ShareError
from roundtrip.watching import dead, placeholders, state
from roundtrip.watching.arrivals import Arrivals
from roundtrip.watching.ends import Ends
from roundtrip.watching.finding import Place
from roundtrip.watching.journal import FAILED, RETRY, Entry, Journal, Memory
from roundtrip.watching.plan import Plan
from roundtrip.watching.runner import Runner, RunnerGone
from roundtrip.watching.telling import Reader, Teller, told_troubles
from roundtrip.watching.work import Work


def watch(plan: Plan, form: str, kept: Path | None, *, retry_failed: bool = False) -> ExitCode:
    """Handle files until told to end, or, with `plan.once`, those that are there.

    `kept` is the state folder; None: the folder's own if a command is run, else none at all.

    Raises:
        RoundtripError: it can't be begun, or not go on.
        BrokenPipeError: nobody reads what is told.
    """
    if not _fill_standard_descriptors() and plan.command is None:
        raise InputError("standard output is closed; nobody would be told of any file")
    real = real_top(plan.folder)
    # Not `real`: where a link leads to may change, and the watch follows it.
    top = os.path.abspath(plan.folder)
    if plan.command is not None:
        placeholders.check(plan.command)
        _find(plan.command[0])
    if plan.dead is not None:
        state.refuse_inside(plan.dead, real, "the dead-letter folder", deep=plan.deep)
        dead.check(plan.dead, plan.folder)
    if kept is None and plan.command is not None:
        kept = state.default(real)
    with ExitStack() as stack:
        journal, runner, claims = _opened(plan, real, kept, stack)
        if retry_failed:
            _retry(journal)
        teller = Teller(form, top, os.fspath(plan.folder))
        _tell_of_another_command(journal, plan.folder, teller)
        stack.enter_context(told_troubles(teller))
        ends = Ends(plan, top, journal, claims, teller, numbered=Place(top).numbered)
        return asyncio.run(_Session(plan, top, ends, teller, runner).run())


def real_top(folder: Path) -> str:
    """The watched folder's path without symbolic links.

    Raises:
        ShareError: it isn't there, or is no folder.
    """
    if not folder.is_dir():
        reason = "it is not a folder" if folder.exists() else "there is no such folder"
        raise ShareError(f"{folder} can't be watched: {reason}")
    return os.path.realpath(folder)


def _fill_standard_descriptors() -> bool:
    """Whether stdout can be written.

    With one of the three closed, the next file that is opened would get what is told; and commands
    that print fail if stdout can't be written.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        return True
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
    return False


def _find(program: str) -> None:
    if shutil.which(program) is None:
        where = "" if "/" in program else " in $PATH"
        raise InputError(f"{program}: there is no such program{where}, or no right to run it")


def _opened(
    plan: Plan, real: str, kept: Path | None, stack: ExitStack
) -> tuple[Memory, Runner | None, Path | None]:
    if kept is None:
        return Memory(), None, None
    opened = state.State(kept, real, deep=plan.deep)
    stack.callback(opened.close)
    told = hashlib.sha256("\0".join(plan.command or ()).encode(errors="surrogateescape"))
    journal = Journal(kept, real, os.path.abspath(plan.folder), told.hexdigest()[:12])
    stack.callback(journal.close)
    if plan.command is None:
        return journal, None, None
    runner = Runner(opened.claims, opened.lock)
    stack.callback(runner.close)
    return journal, runner, opened.claims


def _retry(journal: Memory) -> None:
    """Let every file be tried again that failed."""
    for entry in journal.entries():
        if entry.outcome == FAILED:
            journal.add(replace(entry, outcome=RETRY, attempts=0, interruptions=0, again=0.0))
    journal.flush()


def _tell_of_another_command(journal: Memory, folder: Path, teller: Teller) -> None:
    """A second command for a folder gets none of the first one's files: nothing is run twice."""
    handled = sum(entry.outcome != RETRY for entry in journal.entries())
    if isinstance(journal, Journal) and journal.is_of_another_command and handled:
        teller.trouble(
            f"{folder}: what another command was run for is not run again "
            f"({handled} remembered); a second command needs a --state of its own"
        )


class _Session:
    """The loop's part."""

    def __init__(
        self, plan: Plan, top: str, ends: Ends, teller: Teller, runner: Runner | None
    ) -> None:
        self._plan = plan
        self._top = top
        self._ends = ends
        self._teller = teller
        self._runner = runner
        self._code = ExitCode.OK
        self._asked = 0

    async def run(self) -> ExitCode:
        loop = asyncio.get_running_loop()
        self._leave = loop.create_future()
        self._work = Work(self._plan, self._top, self._ends, self._teller, self._runner)
        self._work.on_error = self._fail
        self._arrivals = Arrivals(
            self._plan, self._top, self._work, self._ends.journal, self._teller
        )
        self._arrivals.on_error = self._fail
        if self._runner is not None:
            self._runner.start()
            self._runner.on_gone = lambda: self._fail(RunnerGone())
        for number, code in ((signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.OK)):
            loop.add_signal_handler(number, self._stop, code)
        reader = Reader(self._reader_gone) if self._tells_stdout() else None
        if reader is not None:
            self._work.reader_has_gone = reader.has_gone
        try:
            return await self._until_end()
        finally:
            if reader is not None:
                reader.close()
            self._arrivals.close()
            self._work.close()
            self._ends.close()

    def _tells_stdout(self) -> bool:
        """Whether somebody is to read stdout: of us, or, through a pipe, of the commands."""
        if self._plan.command is None or self._teller.form == "json":
            return True
        return stat.S_ISFIFO(os.fstat(1).st_mode)

    async def _until_end(self) -> ExitCode:
        settling = [asyncio.create_task(self._settle(entry)) for entry in self._ends.left()]
        if settling:
            self._teller.trouble(
                f"waiting for {_runs(len(settling))} of an earlier watch, still under way"
            )
        self._arrivals.start()
        idle = asyncio.ensure_future(self._work.until_idle())
        try:
            await asyncio.wait((idle, self._leave), return_when=asyncio.FIRST_COMPLETED)
            if self._leave.done():
                self._leave.result()
        finally:
            for task in (idle, *settling):
                task.cancel()
        return self._of_once() if self._plan.once else self._code

    def _of_once(self) -> ExitCode:
        if self._ends.failed or self._work.hindered:
            return ExitCode.FAILED
        return self._code if self._asked or self._arrivals.is_whole else ExitCode.SHARE

    async def _settle(self, entry: Entry) -> None:
        with self._work.held(entry.path):
            await self._ends.settle(entry)

    def _stop(self, code: ExitCode) -> None:
        self._code, self._asked = code, self._asked + 1
        running = self._work.running()
        if self._asked > 1 and not self._leave.done():
            if running:
                self._teller.trouble(f"{_runs(running)} left to go on alone")
            self._leave.set_result(None)
            return
        if running:
            self._teller.trouble(f"waiting for {_runs(running)}; again to leave them alone")
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        self._arrivals.close()
        self._work.stop()

    def _reader_gone(self) -> None:
        self._code = ExitCode.OK
        self._begin_to_stop()

    def _fail(self, error: BaseException) -> None:
        if not self._leave.done():
            self._leave.set_exception(error)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
