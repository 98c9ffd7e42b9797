"""A program as a child process: in a session of its own, and nothing of it left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

PIECE = 1024 * 1024  # bytes; at most twice as many wait in memory
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL
LINGER = 1.0  # seconds to wait for more of stderr after the program's end
TAIL = 16_384  # bytes of stderr kept: its end says why


class NotStarted(Exception):
    """The system refused to start the program."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


Feed = Callable[[asyncio.StreamWriter], Awaitable[None]]
Take = Callable[[bytes], Awaitable[None]]
Hear = Callable[[bytes], bytes]


class _Protocol(SubprocessStreamProtocol):
    """Says when the program ends. `Process.wait` also waits for those who hold its pipes open."""

    def __init__(self) -> None:
        super().__init__(PIECE, asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()
        super().process_exited()


class Child:
    """A program that was started."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: _Protocol) -> None:
        process = Process(transport, protocol, asyncio.get_running_loop())
        assert process.stdin and process.stdout and process.stderr  # all are pipes
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.pid = process.pid
        self.exited = protocol.exited
        self.close = transport.close  # its pipes, whoever else holds them
        self._process = process

    @property
    def code(self) -> int:
        """The exit code, once it has `exited`; negative: the signal that ended it."""
        assert self._process.returncode is not None
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send a signal to its process group, if there still is one."""
        # start_new_session made its id the group's; the number is not given away again that soon
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@asynccontextmanager
async def started(argv: Sequence[bytes], environment: Mapping[str, str]) -> AsyncIterator[Child]:
    """The program, running; when the block is left, its whole process group is gone.

    Raises NotStarted.
    """
    starting = asyncio.create_task(_launched(argv, environment))
    try:
        # shielded: asyncio would end the program alone, not what it has started by then
        child = await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(NotStarted):
            await _ended(await starting)
        raise
    try:
        yield child
    finally:
        await _ended(child)


async def _launched(argv: Sequence[bytes], environment: Mapping[str, str]) -> Child:
    try:
        # what create_subprocess_exec does, but with the transport in hand: only it closes the pipes
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(
            _Protocol,
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise NotStarted(error) from None
    return Child(transport, protocol)


async def piped(child: Child, feed: Feed, take: Take, hear: Hear = bytes) -> bytes:
    """Feed stdin and take stdout, both at once, until the program has ended; the tail of stderr.

    `hear` gets each piece of stderr, and returns what is to be kept of it. A program need not read
    its stdin. Raises what `feed` or `take` raises.
    """
    errors = bytearray()

    async def keep(piece: bytes) -> None:
        errors.extend(hear(piece))
        del errors[:-TAIL]

    feeding = asyncio.create_task(_fed(child.stdin, feed))
    taking = asyncio.create_task(_drained(child.stdout, take))
    telling = asyncio.create_task(_drained(child.stderr, keep))
    ending = asyncio.create_task(_group_ended(child))
    waiting = {feeding, taking, ending}
    try:
        while not (taking.done() and ending.done()):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        await asyncio.wait([telling], timeout=LINGER)  # a daemon that it started may hold it open
    finally:
        tasks = (feeding, taking, telling, ending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return bytes(errors)


async def _fed(stdin: asyncio.StreamWriter, feed: Feed) -> None:
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            await feed(stdin)
    finally:
        stdin.close()


async def _drained(stream: asyncio.StreamReader, take: Take) -> None:
    while piece := await stream.read(PIECE):
        await take(piece)


async def _group_ended(child: Child) -> None:
    await child.exited.wait()
    child.signal(signal.SIGKILL)  # what it left running must not hold the pipes open


async def _ended(child: Child) -> None:
    """End the process group, politely at first, and close the pipes."""
    try:
        if not child.exited.is_set():
            child.signal(signal.SIGTERM)
            await _wait(child)
    finally:
        child.signal(signal.SIGKILL)
        try:
            await _wait(child)
        finally:
            child.close()


async def _wait(child: Child) -> None:
    """Wait for the program's end; not for ever: one that runs as another user can't be killed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await child.exited.wait()
