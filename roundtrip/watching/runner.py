"""Runs commands on behalf of a watch: a small process, forked early, that forks one for each run.

    watch (event loop) --Job--> runner --fork--> run  --Outcome--> watch

It is single-threaded and has no event loop, so that forking is safe and cheap. All three hold the
state's lock, a run only until its claim is on disk: when a later watch gets the lock, everything
that was ever begun has a claim. Without the watch the runner ends at once, and runs go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from roundtrip.errors import RoundtripError
from roundtrip.watching.claim import Outcome
from roundtrip.watching.run import Job, NotStarted, perform

_LARGEST = 4 * 1024 * 1024  # a message: arguments are at most 2 MiB (execve(2), a quarter of 8 MiB)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunnerGone(RoundtripError):
    """The process that starts the runs was killed."""

    def __init__(self) -> None:
        super().__init__(
            "the process that starts the commands was killed; those under way go on: start again"
        )


class NotRun(Exception):
    """Nothing was run; the text says why."""


class Lost(Exception):
    """The process that waited for the command was killed: nobody saw how it ended."""


class Runner:
    """The watch's end. Made before there is an event loop or a thread.

    `lock` is the descriptor of the state's lock.
    """

    def __init__(self, claims: Path, lock: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _Server(theirs, claims, lock).serve_and_exit()
        theirs.close()
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            ours.setsockopt(socket.SOL_SOCKET, option, _LARGEST)
        ours.setblocking(False)
        self._socket = ours
        self._ended = os.pidfd_open(self._pid)
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._sending = asyncio.Lock()  # The loop waits for one sender of a socket only.
        self.on_gone: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Listen to the runs, inside a running event loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._receive)
        # Its runs hold the socket, too, so its end is not the end of that.
        loop.add_reader(self._ended, self._end)

    async def run(self, job: Job) -> Outcome:
        """Run a command to its end.

        Raises:
            NotRun, NotStarted: it was not begun.
            Lost: nobody saw its end.
            RunnerGone: nor will anybody.
        """
        loop = asyncio.get_running_loop()
        future = self._waiting[job.entry.run] = loop.create_future()
        try:
            async with self._sending:
                await loop.sock_sendall(self._socket, pickle.dumps(job))
        except OSError as error:
            del self._waiting[job.entry.run]
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise RunnerGone from None
            raise NotRun(f"its arguments are too long: {error.strerror}") from None
        outcome: Outcome = await future
        return outcome

    def _receive(self) -> None:
        try:
            message = self._socket.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._end()
            return
        run, what = pickle.loads(message)
        future = self._waiting.pop(run, None)
        if future is None or future.done():
            return
        if isinstance(what, Exception):
            future.set_exception(what)
        else:
            future.set_result(what)

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_reader(self._ended)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(RunnerGone())
        self.on_gone()

    def close(self) -> None:
        """End the runner; runs go on by themselves."""
        self._socket.close()
        os.close(self._ended)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


class _Server:
    """The runner's own end, in its own process."""

    def __init__(self, channel: socket.socket, claims: Path, lock: int) -> None:
        self._socket = channel
        self._claims = claims
        self._lock = lock
        self._runs: dict[int, int] = {}  # by process
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve_and_exit(self) -> None:
        code = 1
        try:
            os.setsid()
            for number in _ENDING:
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _LARGEST)
            gc.freeze()
            self._serve()
            code = 0
        finally:
            os._exit(code)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._woken], [], [])
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()
            if self._socket.fileno() in ready:
                message = self._socket.recv(_LARGEST)
                if not message:
                    return
                self._fork(pickle.loads(message))

    def _fork(self, job: Job) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(job.entry.run, NotRun(f"no process: {error.strerror}"))
            return
        if pid:
            self._runs[pid] = job.entry.run
            return
        code = 1
        try:
            self._perform(job)
            code = 0
        finally:
            os._exit(code)

    def _perform(self, job: Job) -> None:
        """In the run's own process."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        what: Outcome | Exception
        try:
            what = perform(job, self._claims, lambda: os.close(self._lock))
        except NotStarted as error:
            what = error
        except OSError as error:
            what = NotRun(f"{self._claims}: {error.strerror}" if error.filename else str(error))
        self._tell(job.entry.run, what)

    def _tell(self, run: int, what: Outcome | Exception) -> None:
        with contextlib.suppress(OSError):  # The watch has gone; the claim says it all.
            self._socket.sendall(pickle.dumps((run, what)))

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                run = self._runs.pop(ended[0], None)
                if run is not None and ended[1]:
                    self._tell(run, Lost())
