"""Format raw through a program: the payload on its stdin, its stdout appended to the sink.

Memory stays constant both ways. Files are read and written in threads, so the loop stays free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from roundtrip.enrich.faults import Transient
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps.hearing import Hearing
from roundtrip.processes import PIECE

if TYPE_CHECKING:
    from roundtrip.enrich.steps.command import Command


class Pouring:
    """One payload through one program.

    The program is started again, if its exit code asks for that, as long as nothing of its output
    has gone into the sink; up to PIECE bytes are held back for that.
    """

    def __init__(
        self,
        step: Command,
        argv: Sequence[bytes],
        source: BinaryIO,
        sink: BinaryIO,
        run: Run,
        variables: Mapping[str, str],
    ) -> None:
        self._step = step
        self._argv = argv
        self._source = source
        self._sink = sink
        self._run = run
        self._variables = variables
        self._held = bytearray()
        self._poured = False
        self._deadline: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Run the program. Raises RecordFault."""
        await self._step.gate.call(self._attempt, self._run)

    async def _attempt(self) -> None:
        self._held.clear()
        try:
            # `timeout` bounds the silence, not the whole: a large payload takes its time
            async with self._step.in_time() as self._deadline:
                hear = Hearing(self._step.command.progress, self._tell)
                await self._step.run(
                    self._argv, self._feed, self._take, self._run, hear, self._variables
                )
        except Transient as failure:
            if self._poured:
                raise failure.fault from None
            raise
        finally:
            self._deadline = None
        await asyncio.to_thread(self._sink.write, bytes(self._held))

    async def _feed(self, stdin: asyncio.StreamWriter) -> None:
        self._source.seek(0)
        while piece := await asyncio.to_thread(self._source.read, PIECE):
            stdin.write(piece)
            await stdin.drain()
            self._alive()

    async def _take(self, piece: bytes) -> None:
        self._alive()
        self._held += piece
        if len(self._held) > PIECE:
            self._poured = True
            held = bytes(self._held)
            self._held.clear()
            await asyncio.to_thread(self._sink.write, held)

    def _tell(self, share: float) -> None:
        self._alive()
        self._run.tell(share)

    def _alive(self) -> None:
        if self._deadline is not None and not self._deadline.expired():
            loop = asyncio.get_running_loop()
            self._deadline.reschedule(loop.time() + self._step.settings.timeout)
