"""What `send` and `poll` share: waiting for answers, and saying what is left when they end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from roundtrip.cli.handing_out import Item, Manner, Unsent, hand_out, tell_unsent
from roundtrip.cli.words import attempts_words, complain, summarize
from roundtrip.errors import ExitCode, InputError, RoundtripError, StillWaiting
from roundtrip.protocol.markers import Outcome

if TYPE_CHECKING:
    from roundtrip.cli.send_view import View
    from roundtrip.client import AsyncClient
    from roundtrip.waiting import Result, Waiting

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked us to end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


async def pick_up(client: AsyncClient, items: AsyncIterable[Item | Unsent], manner: Manner) -> int:
    """Wait for all answers and hand them out; returns the exit status.

    `items` may be made on the way: those that were are not forgotten when another one can't be.
    """
    desk = _Desk(client, manner)
    try:
        with _interruptible():
            async for item in items:
                desk.take(item)
            return max(await desk.run())
    except Interrupted as interrupt:
        desk.tell_the_way_back()
        return 128 + interrupt.number
    except (OSError, RoundtripError):
        # Whoever read it has left, say, perhaps because it had enough; or the disk is full.
        desk.tell_the_way_back()
        raise


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
        self._client = client
        self._manner = manner
        self._items: list[Item] = []
        self._codes: list[ExitCode] = []
        self._outcomes: Counter[str] = Counter()
        self._results: dict[str, Result] = {}
        self._done: set[str] = set()

    def take(self, item: Item | Unsent) -> None:
        """One more to wait for, or to count."""
        if isinstance(item, Item):
            self._items.append(item)
        else:
            self._outcomes["not sent"] += 1
            self._codes.append(tell_unsent(item))

    def tell_the_way_back(self) -> None:
        """A line for each that was not handed out."""
        for item in self._items:
            if item.exchange in self._done:
                continue
            result = self._results.get(item.exchange)
            lies = result is not None and result.outcome is not Outcome.FAILED and result.is_there()
            where = f"its answer lies in {result.path}" if result and lies else "not lost"
            complain(f"{item.file}: {where}; to pick it up: roundtrip poll {item.exchange}")

    async def run(self) -> list[ExitCode]:
        """Wait and hand out; an exit status for each file."""
        from roundtrip.cli.send_view import view_of
        from roundtrip.waiting import LOOK_ANYWAY

        look = LOOK_ANYWAY if self._manner.look is None else self._manner.look
        if self._items:
            with view_of(len(self._items)) as view:
                async with self._client.waiting(look) as waiting:
                    self._codes += await self._all(waiting, view)
        summarize(self._outcomes)
        return self._codes

    async def _all(self, waiting: Waiting, view: View) -> list[ExitCode]:
        tasks = [asyncio.ensure_future(self._wait(item, waiting, view)) for item in self._items]
        try:
            if not self._manner.in_order:
                return await asyncio.gather(*map(self._told, self._items, tasks))
            return [
                await self._told(item, task) for item, task in zip(self._items, tasks, strict=True)
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
        except (InputError, StillWaiting) as error:  # The former: somebody else was quicker.
            is_gone = isinstance(error, InputError)
            self._outcomes["picked up elsewhere" if is_gone else "still under way"] += 1
            if is_gone:
                self._done.add(item.exchange)
            complain("; ".join([str(error), *self._so_far(item)]))
            return error.exit_code
        self._results[item.exchange] = result
        code = hand_out(self._client, item, result, self._manner)
        self._outcomes["taken" if code is ExitCode.TAKEN else result.outcome.value] += 1
        self._done.add(item.exchange)
        return code

    def _so_far(self, item: Item) -> list[str]:
        """What has come of its attempts."""
        from roundtrip.survey import about_restarts

        again = self._client.restarts(item.exchange)
        return [] if again is None else [attempts_words(about_restarts(again), time.time())]
