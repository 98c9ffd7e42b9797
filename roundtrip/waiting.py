"""Waits for the answers to any number of exchanges of this host, told by one watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from roundtrip.config import Settings
from roundtrip.errors import InputError, StillWaiting
from roundtrip.places import Places
from roundtrip.protocol.documents import printable
from roundtrip.protocol.markers import MAX_BYTES, Outcome
from roundtrip.protocol.names import is_exchange
from roundtrip.protocol.problem import MAX_BYTES as LARGEST_PROBLEM
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.progress import ProgressNote
from roundtrip.roles import ticket as tickets
from roundtrip.roles.ticket import Restarts
from roundtrip.shares.posix import PosixFolder
from roundtrip.stages import Stages
from roundtrip.teller import ProgressTeller
from roundtrip.watch import Event, Kind, Watch, WatchSettings

LOOK_ANYWAY = 5.0
"""Seconds after which a waiting caller looks even without an event: events are hints."""
_LOOKS = 50.0
"""Most looks a second that all waiting callers together take without an event."""
_ULID = 26


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: `path` is the enriched file in the inbox, or the problem document in failed/.

    It was delivered there at `delivered` (Unix time), with `size` bytes, `changed` then (ns since
    1970); None where an agent of an older version has not written that down.
    """

    exchange: str
    outcome: Outcome
    path: Path
    delivered: float | None = None
    size: int | None = None
    changed: int | None = None

    def is_there(self) -> bool:
        """Whether it still lies where it was delivered, and nothing else does in its place."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        if self.size is None:
            return True
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed)

    def read(self) -> bytes:
        """The answer's content."""
        return self.path.read_bytes()

    def problem(self) -> Problem:
        """What a `failed` answer says; not much where its document has gone since."""
        if not self.is_there():
            detail = f"the document about it was delivered to {self.path}, and has been taken away"
            return Problem("about:blank", "The exchange failed", detail, self.exchange)
        with self.path.open("rb") as file:
            return Problem.decode(file.read(LARGEST_PROBLEM + 1), self.exchange)


@dataclass(slots=True)
class _Waiter:
    exchange: str
    progress: ProgressTeller | None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def notice(self, event: Event) -> None:
        # A file of progress is told when it is due; everything else is looked at now.
        is_own = event.name.startswith(self.exchange) or not event.name
        told = self.progress is not None and self.progress.notice([event])
        if is_own or told:
            self.woken.set()


class Waiting:
    """A context manager, inside a running event loop; `look` is in seconds, see LOOK_ANYWAY."""

    def __init__(self, settings: Settings, places: Places, look: float = LOOK_ANYWAY) -> None:
        self._settings = settings
        self._places = places
        self._look = look
        # By the ULID: every file of an exchange has it, most of them in front.
        self._waiters: dict[str, list[_Waiter]] = {}
        self._opened = AsyncExitStack()
        self._stages: Stages

    async def __aenter__(self) -> Self:
        self._stages = await self._opened.enter_async_context(Stages(self._settings))
        watch = Watch(self._deliver, WatchSettings())
        self._opened.callback(watch.close)
        kinds = frozenset({Kind.APPEARED, Kind.REMOVED})
        for folder in ("outcomes", "collected", "enriched"):
            watch.add(folder, getattr(self._places, folder), kinds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            for waiter in self._concerned(event.name):
                waiter.notice(event)

    def _concerned(self, name: str) -> list[_Waiter]:
        if not name:  # Anything may have happened.
            return [waiter for some in self._waiters.values() for waiter in some]
        return self._waiters.get(name.removeprefix(".")[:_ULID], [])

    async def result(
        self,
        exchange: str,
        *,
        timeout: float | None = None,
        on_state: Callable[[str], None] | None = None,
        on_progress: Callable[[ProgressNote], None] | None = None,
    ) -> Result:
        """Wait for the answer to an exchange that was submitted here; see `AsyncClient.wait`.

        Raises:
            InputError: nothing of this name was, or its answer was picked up for good.
            StillWaiting: `timeout` seconds have passed.
        """
        progress = on_progress and ProgressTeller(exchange, self._places.enriched, on_progress)
        waiter = _Waiter(exchange, progress)
        waiters = self._waiters.setdefault(exchange[:_ULID], [])
        waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await self._result(waiter, on_state)
        except TimeoutError:
            raise StillWaiting(
                f"{exchange}: no answer yet after {timeout:g} s; nothing is lost, it is still "
                "under way"
            ) from None
        finally:
            waiters.remove(waiter)
            if not waiters:
                self._waiters.pop(exchange[:_ULID], None)

    async def _result(self, waiter: _Waiter, on_state: Callable[[str], None] | None) -> Result:
        while True:
            waiter.woken.clear()
            if result := await self.outcome(waiter.exchange):
                return result
            if not knows(self._places, waiter.exchange):
                raise unknown(waiter.exchange)
            if on_state is not None:
                on_state(await self._stages.of(waiter.exchange))
            pause = max(self._look, len(self._waiters) / _LOOKS)
            if waiter.progress is not None:
                pause = await waiter.progress.tell(pause)
            with suppress(TimeoutError):  # Look even without an event.
                await asyncio.wait_for(waiter.woken.wait(), pause)

    async def outcome(self, exchange: str) -> Result | None:
        """The answer, if it is delivered: its record is there and the private copy is not."""
        with closing(PosixFolder(self._places.outcomes)) as folder:
            try:
                record = json.loads(await folder.read(tickets.file_of(exchange), MAX_BYTES))
                entry = await folder.stat(tickets.file_of(exchange))
            except FileNotFoundError:
                return None
        copies = (exchange, f"{exchange}~problem")
        if any((self._places.collected / copy).exists() for copy in copies):
            return None
        return Result(
            exchange,
            Outcome(record["outcome"]),
            Path(record["path"]),
            None if entry is None else entry.changed / 1e9,
            record.get("size"),
            record.get("changed"),
        )


def knows(places: Places, exchange: str) -> bool:
    """Whether somebody may still want the answer to an exchange that was submitted here."""
    if not is_exchange(exchange):
        return False
    file = tickets.file_of(exchange)
    # In this order: the record is written before the ticket goes.
    return asks_for_reply(places.tickets / file) or (places.outcomes / file).exists()


def restarts(places: Places, exchange: str) -> Restarts | None:
    """The attempts of an exchange of which some have failed already; None if none has."""
    return tickets.restarts_in(places.tickets / tickets.file_of(exchange))


def unknown(exchange: str) -> InputError:
    """Nobody waits for it, or can."""
    name = printable(exchange[:200])
    return InputError(f"{name}: nothing of this name was sent here, or it was picked up")


def asks_for_reply(ticket: Path) -> bool:
    """Whether it is the ticket of an exchange whose submitter wants to be told."""
    try:
        return tickets.decode(ticket.read_bytes()).reply
    except (FileNotFoundError, ValueError):
        return False  # It is over, or somebody else's.
