"""Quotas that all workers count together, in the folder: a block of calls is a name that one gets.

`quota/COUNTER.WINDOW.START` holds how many calls were taken once START had been: of two workers
that want the same block, link(2) lets one have it. So a quota holds exactly, whoever joins, leaves
or is killed; what a killed worker had taken and not used is lost, a hundredth at most.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

from roundtrip.dispatch.room import QUOTA, Room, maybe_read, put_new
from roundtrip.enrich.store.port import Cache, Counters, Ledger, Store
from roundtrip.shares import files, writing

_BLOCK = re.compile(r"(?P<counter>[0-9a-f]{16})\.(?P<window>[0-9T-]+)\.(?P<start>\d{1,15})")
_TRIES = 1000  # others that are faster each time


class SharedCounters:
    """Implements `Counters` in the queue's folder."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._known: dict[tuple[str, str], int] = {}

    def spent(self, counter: str, window: str) -> int:
        """See `Counters`: as far as it is known here; `reserve` knows it exactly."""
        return self._known.get((counter, window), 0)

    async def reserve(self, counter: str, window: str, calls: int) -> int:
        """See `Counters`."""
        total = await self._room.do(lambda: self._reserve(counter, window, calls))
        self._known = {
            key: known
            for key, known in self._known.items()
            if key[0] != counter or _alike(key, window)
        } | {(counter, window): total}
        return total

    def _reserve(self, counter: str, window: str, calls: int) -> int:
        key, when = hashlib.sha256(counter.encode()).hexdigest()[:16], window.replace(":", "")
        with self._room.opened(QUOTA) as folder:
            for _ in range(_TRIES):
                names = files.names(folder)
                start = self._total(folder, key, when, names)
                try:
                    put_new(folder, f"{key}.{when}.{start}", str(calls).encode(), durable=True)
                except FileExistsError:
                    continue
                if start == 0:
                    _forget_older(folder, key, when, names)
                return start + calls
        raise OSError(f"{self._room.path}: no turn at a quota in {_TRIES} tries")

    def _total(self, folder: int, key: str, when: str, names: Iterable[str]) -> int:
        starts = [
            int(block["start"])
            for name in names
            if (block := _BLOCK.fullmatch(name))
            and (block["counter"], block["window"]) == (key, when)
        ]
        if not starts:
            return 0
        last = max(starts)
        return last + int(maybe_read(folder, f"{key}.{when}.{last}", 20) or b"0")


def _alike(key: tuple[str, str], window: str) -> bool:
    """Whether a known window is of another length: a day's is kept beside a minute's."""
    return len(key[1]) != len(window)


def _forget_older(folder: int, key: str, when: str, names: Iterable[str]) -> None:
    """The first block of a window: the windows of the same length before it are over."""
    for name in names:
        block = _BLOCK.fullmatch(name)
        if block is None or block["counter"] != key or len(block["window"]) != len(when):
            continue
        if block["window"] < when:
            writing.remove(folder, name)


class SharedStore:
    """A worker's own store, but for the counters."""

    def __init__(
        self, own: Store, counters: Counters, opened: Callable[[], None] = lambda: None
    ) -> None:
        """`opened` is called each time that it was opened."""
        self._own = own
        self._opened = opened
        self.counters = counters
        self.room, self.durable, self.aclose = own.room, own.durable, own.aclose

    async def open(self) -> None:
        """See `Store`."""
        await self._own.open()
        self._opened()

    @property
    def ledger(self) -> Ledger:
        """See `Store`."""
        return self._own.ledger

    @property
    def cache(self) -> Cache:
        """See `Store`."""
        return self._own.cache
