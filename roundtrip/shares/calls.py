"""The agent's end of a helper process: its start, the calls to it, and its end.

    waiting -> in hand -> answered
                  |
                  +----> no answer in time: the helper is killed, and every call fails

Only as many calls are in hand as the helper has threads, so that each one's time runs while it is
worked on and not while it stands in a queue; copies leave some threads to the other calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from roundtrip.protocol.markers import timestamp
from roundtrip.shares import wire
from roundtrip.shares.entry import NotAFile
from roundtrip.shares.helper import FIRST_STEP, THREADS
from roundtrip.shares.spawn import start
from roundtrip.shares.verdicts import Hung, Operation, during, of_own_disk
from roundtrip.shares.wire import Answer

_COPIES = THREADS // 2
_SLOWEST = 128 * 1024  # bytes a second; what a copy may take beyond the time of any other call
_START = 30.0  # seconds; Python may start slowly on a busy host
_LATE = 1.0  # seconds
_DYING = 1.0  # seconds from SIGKILL to being gone, for a process that isn't stuck
_PAUSE = 0.005  # seconds

_Failure = Callable[[], Exception]


class _Call:
    """One request and what is to become of it; `size` is None for all but copies."""

    def __init__(
        self,
        number: int,
        operation: str,
        arguments: tuple[object, ...],
        descriptor: int | None,
        size: int | None,
    ) -> None:
        self.number = number
        self.message = (number, operation, *arguments)
        self.descriptor = descriptor
        self.size = size
        self.answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.since = 0.0

    @property
    def is_copy(self) -> bool:
        """Whether it may take as long as its size makes it."""
        return self.size is not None

    def fail(self, failure: _Failure) -> None:
        """The call's end without an answer."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.answered.done():
            self.answered.set_exception(failure())


class Helper:
    """A helper process. `timeout` is how many seconds it may leave a call without an answer."""

    def __init__(self, share: str, timeout: float) -> None:
        self._share = share
        self._timeout = timeout
        self._numbers = count(1)
        self._waiting: deque[_Call] = deque()
        self._waiting_copies: deque[_Call] = deque()
        self._in_hand: dict[int, _Call] = {}
        self._copies = 0
        self._over: _Failure | None = None
        self._killed_at = 0.0
        self.hung_since: str | None = None
        self._loop = asyncio.get_running_loop()
        self._end, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = start(other)
        self._end.setblocking(False)
        self._loop.add_reader(self._end, self._receive)
        # Its first message has the number 0 and says that it runs.
        self._begun = _Call(0, "start", (), None, None)
        self._take_in_hand(self._begun, _START)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def begun(self) -> None:
        """Return once it runs.

        Raises:
            OSError: it ended (ENOTCONN).
        """
        await asyncio.shield(self._begun.answered)

    async def call(
        self,
        operation: str,
        *arguments: object,
        descriptor: int | None = None,
        size: int | None = None,
    ) -> Any:
        """Have something done; `size` is given for copies, in bytes.

        Raises:
            Hung: no answer came in time.
            OSError: as the operation; ENOTCONN if the helper ended.
            NotAFile: as the operation.
        """
        if self._over is not None:
            raise self._over()
        call = _Call(next(self._numbers), operation, arguments, descriptor, size)
        (self._waiting_copies if call.is_copy else self._waiting).append(call)
        self._hand_over()
        try:
            return await call.answered
        except asyncio.CancelledError:
            self._forget(call)
            raise

    def _hand_over(self) -> None:
        while self._over is None and len(self._in_hand) < THREADS:
            if self._waiting:
                call = self._waiting.popleft()
            elif self._waiting_copies and self._copies < _COPIES:
                call = self._waiting_copies.popleft()
            else:
                return
            self._copies += call.is_copy
            self._take_in_hand(call, self._patience(min(call.size or 0, 2 * FIRST_STEP)))
            self._send(call.message, () if call.descriptor is None else (call.descriptor,))

    def _send(self, message: tuple[object, ...], descriptors: tuple[int, ...] = ()) -> None:
        try:
            # Never full: few calls are in hand at a time, and their messages are small.
            wire.send(self._end, message, descriptors)
        except wire.Closed:
            self._ended()

    def _forget(self, call: _Call) -> None:
        """Nobody waits for this call any more; what hangs is noticed all the same."""
        for queue in (self._waiting, self._waiting_copies):
            with contextlib.suppress(ValueError):  # It is in one of them, or in hand.
                queue.remove(call)
        if call.is_copy and call.number in self._in_hand and self._over is None:
            self._send((0, "cancel", call.number))

    def _patience(self, step: int) -> float:
        return self._timeout + step / _SLOWEST

    def _take_in_hand(self, call: _Call, seconds: float) -> None:
        self._in_hand[call.number] = call
        call.since = time.time()
        self._wait_for(call, seconds)

    def _wait_for(self, call: _Call, seconds: float) -> None:
        if call.timer is not None:
            call.timer.cancel()
        due = self._loop.time() + seconds
        call.timer = self._loop.call_at(due, self._expire, call, due)

    def _expire(self, call: _Call, due: float) -> None:
        if self._loop.time() - due > _LATE:
            # This process stood still (SIGSTOP, a suspended machine): the other may have, too.
            self._wait_for(call, self._timeout)
            return
        since = self.hung_since = timestamp(min(each.since for each in self._in_hand.values()))
        self._give_up(lambda: Hung(self._share, since))

    def hurry(self, seconds: float) -> None:
        """From now on wait no longer than this for any answer."""
        self._timeout = min(self._timeout, seconds)
        latest = self._loop.time() + self._timeout
        for call in self._in_hand.values():
            if call.timer is not None and call.timer.when() > latest:
                self._wait_for(call, self._timeout)

    def _receive(self) -> None:
        while self._over is None:
            try:
                message, descriptor = wire.receive(self._end)
            except BlockingIOError:
                return
            except wire.Closed:
                self._ended()
                return
            try:
                self._take(message, descriptor)
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    def _take(self, message: tuple[Any, ...], descriptor: int | None) -> None:
        number, kind, *rest = message
        call = self._in_hand[number]
        if kind == Answer.GOING_ON.value:
            call.since = time.time()
            self._wait_for(call, self._patience(rest[0] + FIRST_STEP))
            return
        del self._in_hand[number]
        self._copies -= call.is_copy
        if kind != Answer.DONE.value:
            call.fail(lambda: _failure(kind, rest))
        else:
            assert call.timer is not None
            call.timer.cancel()
            if not call.answered.done():
                call.answered.set_result(_result(rest[0], descriptor))
        self._hand_over()

    def _ended(self) -> None:
        """The process is gone, and not by our doing."""
        self._give_up(lambda: self._gone("its helper process ended"))

    def _gone(self, words: str) -> OSError:
        return OSError(errno.ENOTCONN, words, self._share)

    def close(self) -> None:
        """End the process, whatever it is doing; never blocks."""
        self._give_up(lambda: self._gone("the share was closed"))

    def _give_up(self, failure: _Failure) -> None:
        if self._over is not None:
            return
        self._over = failure
        self._process.send_signal(signal.SIGKILL)
        self._killed_at = self._loop.time()
        self._loop.remove_reader(self._end)
        self._end.close()
        for call in [*self._in_hand.values(), *self._waiting, *self._waiting_copies]:
            call.fail(failure)
        for calls in (self._in_hand, self._waiting, self._waiting_copies):
            calls.clear()
        if self._begun.answered.done():
            self._begun.answered.exception()  # Perhaps nobody waited for it.

    async def gone(self) -> bool:
        """Whether the process is gone, and with it every call that it made of the kernel.

        After `close`; waits a moment for the kernel to end it, but never for one that is stuck.
        """
        while self._process.poll() is None:
            if self._loop.time() - self._killed_at > _DYING:
                return False
            await asyncio.sleep(_PAUSE)
        return True


def _result(value: Any, descriptor: int | None) -> Any:
    return value if descriptor is None else wire.unpacked(value, descriptor)


def _failure(kind: str, rest: list[Any]) -> Exception:
    if kind == Answer.DEFECT.value:
        return RuntimeError(f"a defect in the share's helper: {rest[0]}")
    number, words, name, operation, is_of_own_disk = rest
    if number is None:
        return NotAFile(words)
    error = OSError(number, words, name)
    return of_own_disk(error) if is_of_own_disk else during(Operation(operation), error)
