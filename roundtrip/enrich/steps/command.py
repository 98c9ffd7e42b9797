"""The `command` step: a program of this host, its arguments and stdin made of a record.

    record -> argv, stdin -> program -> stdout -> answer
                                  \\-> exit code, stderr -> fault

No shell is involved. What the exit code means is in `exits`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import BinaryIO

from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.selecting import Selection
from roundtrip.enrich.settings import CommandSettings, StepSettings
from roundtrip.enrich.steps import Answered, Call
from roundtrip.enrich.steps.arguments import arguments
from roundtrip.enrich.steps.exits import judge, unstarted
from roundtrip.enrich.steps.hearing import Hearing
from roundtrip.enrich.steps.matching import Matching
from roundtrip.enrich.steps.sent import Sent, written
from roundtrip.processes import Feed, NotStarted, Take, piped, started
from roundtrip.programs import DEFAULT_PATH, environment
from roundtrip.template import Fields, structure


class CommandCall:
    """One record's arguments and stdin."""

    __slots__ = ("argv", "key", "match", "stdin", "step")

    def __init__(self, step: Command, argv: list[bytes], stdin: bytes, match: str) -> None:
        self.step = step
        self.argv = argv
        self.stdin = stdin
        self.match = match
        digest = blake2b(step.identity, digest_size=16)
        for part in (*argv, stdin):
            digest.update(b"%d:%b" % (len(part), part))
        self.key = digest.digest()

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`."""
        step = self.step
        output = await step.output(self.argv, self.stdin, run)
        return Answered(step.selection.read(output, step.where))


class Command:
    """A `command` step ready to run; implements `Step`."""

    local = False

    def __init__(
        self, pipeline: str, settings: StepSettings, command: CommandSettings, governor: Governor
    ) -> None:
        """ValueError, in one line, when a setting can't be used."""
        self.settings = settings
        self.command = command
        self.name = settings.name
        self.into = settings.into or settings.name
        self.selection = Selection(settings.select)
        self.selected = self.selection.names
        self.gate = governor.gate(pipeline, settings)
        run = command.words
        self._program = run[0] if run else "run"
        self.where = f"step {settings.name}: {self._program}"
        self._sent = Sent(settings)
        self._arguments = arguments(run, self._sent, batch=settings.batch is not None)
        self._script = [] if command.shell is None else [command.shell.encode()]
        batch = settings.batch
        self._matching = Matching(batch) if batch else None
        self._item = structure(batch.item)[0] if batch and batch.item is not None else None
        self._limits = _limits(command.memory)
        self._environment = environment(command.environment)
        matched = batch and (batch.by, batch.key, batch.results)
        variables = sorted(command.environment.items())
        extra = (self.name, run, *self._script, command.memory, variables, matched)
        self.identity = b"command" + repr(extra).encode() + self.selection.identity

    def call(self, fields: Fields) -> CommandCall:
        """See `Step.call`."""
        match = self._matching.key(fields) if self._matching else ""
        stdin = self._sent.text(fields) if self._item is None else written(self._item(fields))
        return CommandCall(self, self._arguments.render(fields), stdin + b"\n", match)

    async def together(self, calls: Sequence[Call], run: Run) -> list[Answered | RecordFault]:
        """See `Step.together`."""
        assert self._matching is not None  # or there would be no batches
        own = [call for call in calls if isinstance(call, CommandCall)]
        stdin = b"".join(call.stdin for call in own)
        output = await self.output(own[0].argv, stdin, run)
        answer = [
            self.selection.parsed(line, self.where) for line in output.splitlines() if line.strip()
        ]
        found = self._matching.answers(answer, [call.match for call in own], self.where)
        return [self._selected(item) for item in found]

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        """See `Step.whole`."""
        from roundtrip.enrich.steps.command_whole import Pouring

        argv = self._arguments.render({"name": name})
        variables = {"ROUNDTRIP_EXCHANGE": run.exchange, "ROUNDTRIP_NAME": name}
        await Pouring(self, argv, source, sink, run, variables).run()
        return None

    async def output(self, argv: Sequence[bytes], stdin: bytes, run: Run) -> bytes:
        """What the program prints, of bounded length, within the step's limits and time."""
        limit = self.command.max_output

        async def attempt() -> bytes:
            found = bytearray()

            async def feed(writer: asyncio.StreamWriter) -> None:
                writer.write(stdin)
                await writer.drain()

            async def take(piece: bytes) -> None:
                found.extend(piece)
                if len(found) > limit:
                    detail = f"{self.where}: it printed more than {limit} bytes"
                    raise RecordFault("Unusable answer", detail)

            async with self.in_time():
                await self.run(argv, feed, take, run)
            return bytes(found)

        return await self.gate.call(attempt, run)

    async def run(
        self,
        argv: Sequence[bytes],
        feed: Feed,
        take: Take,
        run: Run,
        hear: Hearing | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run the program once, to its end. RecordFault or Transient if that isn't a good one.

        `hear` is told what it writes to stderr; `variables` are added to its environment.
        """
        program = shutil.which(self._program, path=self._environment["PATH"])
        hear = hear or Hearing(None, run.tell)
        if program is None:
            raise StepFault(
                "Program not found", f"{self.where}: no such program, or no right to it"
            )
        try:
            async with started(
                [*self._limits, program.encode(), *argv, *self._script],
                {**self._environment, **(variables or {})},
            ) as child:
                run.stats.calls += 1
                errors = await piped(child, feed, take, hear) + hear.rest
        except NotStarted as refused:
            raise unstarted(refused.error, self.where) from None
        judge(child.code, errors, self.where, self.command.environment.values())

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[asyncio.Timeout]:
        """Bound what the block does by the step's timeout; PassingFault when it takes longer."""
        seconds = self.settings.timeout
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                yield deadline
        except TimeoutError:
            if not deadline.expired():
                raise  # a file's, on a mount that hangs
            detail = f"{self.where}: not ended within {seconds:g} s, so it was stopped"
            raise PassingFault("No answer in time", detail) from None

    def _selected(self, found: object) -> Answered | RecordFault:
        if isinstance(found, RecordFault):
            return found
        try:
            return Answered(self.selection.of(found, self.where))
        except RecordFault as fault:
            return fault


def _limits(memory: int | None) -> list[bytes]:
    """What goes before the program: its limits are set in the child, before it begins."""
    if memory is None:
        return []
    prlimit = shutil.which("prlimit", path=DEFAULT_PATH)
    if prlimit is None:
        raise ValueError("command.memory needs the program prlimit (package util-linux)")
    return [os.fsencode(prlimit), b"--as=%d" % memory, b"--"]
