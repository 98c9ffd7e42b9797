"""What `send` and `poll` share: waiting for answers, handing them out, saying what is left."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roundtrip.cli.words import printable
from roundtrip.errors import ExitCode, RoundtripError, StillWaiting
from roundtrip.protocol.markers import Outcome
from roundtrip.roles.problems import DEADLINE

if TYPE_CHECKING:
    from roundtrip.cli.send_view import View
    from roundtrip.client import AsyncClient
    from roundtrip.waiting import Result, Waiting

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Item:
    """One file that is waited for: `file` is what the user calls it.

    With `prints` its answer goes to standard output, its path otherwise; with `removes`, what was
    printed whole is taken out of the inbox.
    """

    file: str
    exchange: str
    prints: bool = False
    removes: bool = False


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are handed out: `in_order` of the files, or as they come.

    `timeout` and `look` are in seconds; with `forget`, nobody can ask a second time.
    """

    in_order: bool = False
    as_json: bool = False
    timeout: float | None = None
    look: float | None = None
    forget: bool = True


class Interrupted(Exception):
    """A signal asked us to end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


async def pick_up(client: AsyncClient, items: AsyncIterable[Item], manner: Manner) -> int:
    """Wait for all answers and hand them out; returns the exit status.

    `items` may be made on the way: those that were are not forgotten when another one can't be.
    """
    desk = _Desk(client, manner)
    try:
        with _interruptible():
            async for item in items:
                desk.items.append(item)
            return max(await desk.run())
    except Interrupted as interrupt:
        _tell_the_way_back(desk.left())
        return 128 + interrupt.number
    except (OSError, RoundtripError):
        # Whoever read it has left, say, perhaps because it had enough; or a file isn't there.
        _tell_the_way_back(desk.left())
        raise


def _tell_the_way_back(left: Sequence[Item]) -> None:
    with suppress(OSError):  # The terminal may be gone.
        for item in left:
            print(f"roundtrip: {item.file}: not lost; to pick its answer up: "
                  f"roundtrip poll {item.exchange}", file=sys.stderr)  # fmt: skip


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make of a signal that ends us the exception Interrupted, raised in the current task."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    seen: list[int] = []

    def interrupt(number: int) -> None:
        seen.append(number)
        task.cancel()

    for number in _SIGNALS:
        # Whoever started us with nohup wants SIGHUP to be ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupt, number)
    try:
        yield
    except asyncio.CancelledError:
        if not seen:
            raise
        task.uncancel()
        raise Interrupted(seen[0]) from None
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


class _Desk:
    """The answers of one call of the command."""

    def __init__(self, client: AsyncClient, manner: Manner) -> None:
        self.items: list[Item] = []
        self._client = client
        self._manner = manner
        self._outcomes: Counter[str] = Counter()
        self._done: set[str] = set()

    def left(self) -> list[Item]:
        """What was not handed out."""
        return [item for item in self.items if item.exchange not in self._done]

    async def run(self) -> list[ExitCode]:
        """Wait and hand out; an exit status for each file."""
        from roundtrip.cli.send_view import view_of
        from roundtrip.waiting import LOOK_ANYWAY

        look = LOOK_ANYWAY if self._manner.look is None else self._manner.look
        with view_of(len(self.items)) as view:
            async with self._client.waiting(look) as waiting:
                codes = await self._all(waiting, view)
        if len(self.items) > 1:
            told = ", ".join(f"{count} {name}" for name, count in sorted(self._outcomes.items()))
            print(f"roundtrip: {len(self.items)} files: {told}", file=sys.stderr)
        return codes

    async def _all(self, waiting: Waiting, view: View) -> list[ExitCode]:
        tasks = [asyncio.ensure_future(self._wait(item, waiting, view)) for item in self.items]
        try:
            if not self._manner.in_order:
                return await asyncio.gather(*map(self._told, self.items, tasks))
            return [
                await self._told(item, task) for item, task in zip(self.items, tasks, strict=True)
            ]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, item: Item, waiting: Waiting, view: View) -> Result:
        show = view.add(item.file)
        result = await waiting.result(
            item.exchange,
            timeout=self._manner.timeout,
            on_state=show,
            on_progress=view.progress(item.file),
        )
        view.finish(item.file, result.outcome.value)
        return result

    async def _told(self, item: Item, task: asyncio.Future[Result]) -> ExitCode:
        try:
            result = await task
        except StillWaiting as error:
            self._outcomes["still under way"] += 1
            print(f"roundtrip: {error}", file=sys.stderr)
            return ExitCode.WAITING
        self._outcomes[result.outcome.value] += 1
        code = self._hand_out(item, result)
        self._done.add(item.exchange)
        return code

    def _hand_out(self, item: Item, result: Result) -> ExitCode:
        code, detail = _judged(item.file, result)
        if detail:
            print(printable(detail), file=sys.stderr)
        if self._manner.as_json:
            _print_json(item.file, result)
        elif code is ExitCode.OK and item.prints:
            _print_content(result)
            if item.removes:
                result.path.unlink(missing_ok=True)  # Its only reader has it all.
        elif code is ExitCode.OK:
            print(result.path, flush=True)
        if self._manner.forget:
            self._client.forget(item.exchange)
        return code


def _judged(file: str, result: Result) -> tuple[ExitCode, str]:
    """What an answer means for the exit status, and what to say about it."""
    if result.outcome is not Outcome.FAILED:
        return ExitCode.OK, ""
    try:
        problem = result.problem()
    except FileNotFoundError:
        return ExitCode.FAILED, f"roundtrip: {file}: failed; {result.path} was taken away"
    code = ExitCode.EXPIRED if problem.kind == DEADLINE else ExitCode.FAILED
    # The words are B's.
    return code, f"roundtrip: {file}: {problem.title}: {problem.detail} (see {result.path})"


def _print_content(result: Result) -> None:
    with result.path.open("rb") as answer:
        shutil.copyfileobj(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _print_json(file: str, result: Result) -> None:
    found = {
        "file": file,
        "exchange": result.exchange,
        "outcome": result.outcome.value,
        "path": str(result.path),
    }
    print(json.dumps(found), flush=True)
