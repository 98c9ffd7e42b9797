"""The agent's slow timer: results that nobody told of, messages that were lost, workers, depth."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from roundtrip.dispatch.folder import JobFolder, Listing
from roundtrip.dispatch.link import Link
from roundtrip.dispatch.roll import LATE, Roll
from roundtrip.dispatch.tasks import ended
from roundtrip.queue.port import Depth
from roundtrip.roles.health import Health, Severity

log = logging.getLogger("roundtrip.dispatch")

_BEATS = 5  # between two rounds
_ROUNDS = 2  # that a job is seen without message and worker, before it is published again
FOLDER = "queue.folder"
WORKERS = "queue.workers"


class QueueFigures(NamedTuple):
    """The queue as the last round found it, `age` seconds ago.

    `depth` is None while the broker can't be asked. `workers` are the living, and what each says.
    """

    depth: Depth | None
    workers: Mapping[str, Mapping[str, Any]]
    age: float


class Supervision:
    """Looks at folder and queue every few beats, from `start` to `close`."""

    def __init__(
        self,
        folder: JobFolder,
        link: Link,
        health: Health,
        *,
        beat: float,
        waiting: Callable[[], Iterable[str]],
        wake: Callable[[str], None],
        found: Callable[[set[str]], None],
    ) -> None:
        """`waiting`: the jobs whose results are waited for; `wake`: look for a job's result.

        `found` is told of the exchanges that have anything in the folder.
        """
        self._folder = folder
        self._link = link
        self._health = health
        self._every = _BEATS * beat
        self._waiting = waiting
        self._wake = wake
        self._found = found
        self._roll = Roll(folder.room, beat)
        self._idle_rounds: dict[str, int] = {}
        self._rounds = 0
        self._task: asyncio.Task[None] | None = None
        self._depth: Depth | None = None
        self._ended: float | None = None  # when the last round was done

    def start(self) -> None:
        """Begin, inside the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="queue-supervision")

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            await ended(self._task)

    def figures(self) -> dict[str, Any]:
        """What `status` shows: the queue's depth and the workers, as of the last round."""
        workers = [{"worker": name, **said} for name, said in sorted(self._roll.told.items())]
        depth = {} if self._depth is None else self._depth._asdict()
        return {"dispatch": "queue", **depth, "workers": workers}

    def last(self) -> QueueFigures | None:
        """What the last round found, without asking anybody; None before the first."""
        if self._ended is None:
            return None
        return QueueFigures(self._depth, self._roll.told, time.monotonic() - self._ended)

    async def _run(self) -> None:
        while True:
            try:
                await self._round()
                self._health.clear(FOLDER)
            except OSError as error:
                reason = error.strerror or str(error)
                text = f"{self._folder.room.path}: {reason}; requests wait, nothing is lost"
                self._health.report(FOLDER, text)
            await asyncio.sleep(self._every)

    async def _round(self) -> None:
        before = self.figures()
        listing = await self._folder.listing()
        self._found(listing.exchanges())
        for name in set(self._waiting()) - (listing.asked - listing.done):
            self._wake(name)  # It is done, or somebody has taken the job away.
        await self._roll.read()
        depth = self._depth = await self._link.depth()
        self._ended = time.monotonic()
        self._judge_workers()
        if self.figures() != before:
            self._health.on_change()  # What is told of us is written down anew.
        await self._publish_lost(listing, depth is not None and depth.waiting == 0)
        self._rounds += 1
        if self._rounds * _BEATS > LATE:  # Long enough to know the dead.
            await self._roll.clear()

    def _judge_workers(self) -> None:
        if self._roll.told:
            self._health.clear(WORKERS)
        elif self._rounds:
            text = "no worker is at work; start one: roundtrip worker"
            self._health.report(WORKERS, text, Severity.ALARM)

    async def _publish_lost(self, listing: Listing, is_empty: bool) -> None:
        """Publish jobs again for which there is neither a message nor a worker.

        The broker may have lost its queue without losing us, or somebody has emptied it.
        """
        idle = {name for name in self._waiting() if name in listing.asked - listing.done}
        if not is_empty:
            idle = set()
        for name in list(idle):
            look = await self._folder.look(name)
            if look.holder is not None and await self._roll.is_alive(look.holder):
                idle.discard(name)
        self._idle_rounds = {name: self._idle_rounds.get(name, 0) + 1 for name in idle}
        for name, rounds in self._idle_rounds.items():
            if rounds >= _ROUNDS:
                log.warning("published again", extra={"job": name})
                self._link.publish(name)
                self._idle_rounds[name] = 0
