"""One run, in a process of its own: claim, start, wait, write down how it ended, tell.

It goes on whatever becomes of the watch that wanted it: it is in a session of its own, ignores the
signals that end a session, and needs nobody to write the end of the run into the claim.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from roundtrip.watching.claim import Claim, Outcome
from roundtrip.watching.finding import look
from roundtrip.watching.journal import Entry

GRACE = 5.0
"""Seconds between asking a command that took too long to end, and killing it."""
_STDERR = 4096
_CHUNK = 65536
_NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_RESET = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGURG)


class NotStarted(Exception):
    """The program isn't there, or can't be started as it is; nothing was run."""


class Job(NamedTuple):
    """A run: `path` is absolute, and given only if the file is looked at afterwards."""

    entry: Entry
    arguments: list[str]
    timeout: float | None = None
    quiet_stdout: bool = False
    path: str | None = None
    numbered: bool = True


def perform(job: Job, claims: Path, claimed: Callable[[], None]) -> Outcome:
    """Do all of it; `claimed` is called when it is certain that this file is not run again.

    Raises:
        OSError: there was no room for the claim, or for a process; nothing was run.
        NotStarted: nothing was run, either.
    """
    claim = Claim(claims, job.entry)
    claimed()
    try:
        outcome = _outcome(job, claim)
    except (OSError, NotStarted):
        claim.withdraw()
        raise
    # Whoever is told of the end writes it down as well.
    with contextlib.suppress(OSError):
        claim.finish(outcome)
    return outcome


def _outcome(job: Job, claim: Claim) -> Outcome:
    began = time.monotonic()
    reader, writer = os.pipe()
    try:
        pid = _start(job, claim, writer)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        if code in _NO_ROOM:
            raise
        text = f"{job.arguments[0]}: can't be started: {getattr(error, 'strerror', None) or error}"
        if code == errno.E2BIG or not isinstance(error, OSError):
            return Outcome(None, 0.0, text)
        raise NotStarted(text) from None  # It is the program's fault, and no file's.
    finally:
        os.close(writer)
    watched = _Watched(pid, reader)
    in_time = watched.wait(job.timeout)
    if not in_time:
        watched.end()
    code = watched.code()
    seconds = time.monotonic() - began
    reason = _reason(code) if in_time else f"took longer than {job.timeout:g} s"
    after = _after(job) if code == 0 and in_time else None
    return Outcome(code, round(seconds, 3), reason, watched.last_words(), after)


def _start(job: Job, claim: Claim, stderr: int) -> int:
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_DUP2, null, 0),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
        # To itself, which clears close-on-exec: the command holds the claim's lock as well.
        (os.POSIX_SPAWN_DUP2, claim.descriptor, claim.descriptor),
    ]
    if job.quiet_stdout:
        actions.insert(0, (os.POSIX_SPAWN_DUP2, 2, 1))
    try:
        return os.posix_spawnp(
            job.arguments[0],
            job.arguments,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET,
        )
    finally:
        os.close(null)


class _Watched:
    """A command under way: passes on what it says on stderr, and keeps the end of that."""

    def __init__(self, pid: int, stderr: int) -> None:
        self._pid = pid
        self._stderr = stderr
        self._said = b""
        self._ended = os.pidfd_open(pid)
        os.set_blocking(stderr, False)
        self._poll = select.poll()
        self._poll.register(self._ended, select.POLLIN)
        self._poll.register(stderr, select.POLLIN)

    def wait(self, seconds: float | None) -> bool:
        """Wait until it has ended; False if that takes longer."""
        limit = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            ready = dict(self._poll.poll(None if left is None else left * 1000 + 1))
            if self._stderr in ready:
                self._pass_on()
            if self._ended in ready:
                return True
            if left == 0.0:
                return False

    def end(self) -> None:
        """Ask it and all that it started to end, then make them."""
        self._signal(signal.SIGTERM)
        if not self.wait(GRACE):
            self._signal(signal.SIGKILL)
            self.wait(None)
        else:
            self._signal(signal.SIGKILL)  # What it started and did not end.

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, number)

    def code(self) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        _, status = os.waitpid(self._pid, 0)
        # Not after that: what it left running may say more, but that is no part of the run.
        self._pass_on()
        return os.waitstatus_to_exitcode(status)

    def last_words(self) -> str:
        """The end of what it said on stderr."""
        return self._said.decode(errors="replace")

    def _pass_on(self) -> None:
        try:
            said = os.read(self._stderr, _CHUNK)
        except BlockingIOError:
            return
        if not said:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._stderr)
            return
        self._said = (self._said + said)[-_STDERR:]
        with contextlib.suppress(OSError):  # Nobody reads our own any more.
            os.write(2, said)


def _reason(code: int) -> str | None:
    if code == 0:
        return None
    if code > 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _after(job: Job) -> str | None:
    """The file's identity as the command left it, if it may change it."""
    if job.path is None:
        return None
    try:
        found = look(job.path, numbered=job.numbered)
    except OSError:
        return None
    return found.identity if found is not None else None
