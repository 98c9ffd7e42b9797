"""Who is at work: each worker's life sign in the folder, and which of them are alive.

A life sign is an empty file `workers/ID.N`; N grows with each beat, and the older name goes. A
worker is alive as long as its number changes within a few beats by the looker's own clock: hosts'
clocks need not agree, and what is seen for the first time counts as alive.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from roundtrip.dispatch.room import WORKERS, Room, maybe_read
from roundtrip.protocol.documents import read_object
from roundtrip.protocol.names import part_of
from roundtrip.shares import files, writing

LATE = 4
"""Beats without a new life sign, after which a worker counts as dead."""
SETTLE = 2
"""Beats that a newcomer waits, until all others must have seen it."""
_SIGN = re.compile(r"(?P<worker>[0-9A-Z]{26})\.(?P<number>\d{1,15})")
_MAX_BYTES = 4096


class Roll:
    """The workers as one of them, or the agent, sees them; `beat` is in seconds."""

    def __init__(
        self, room: Room, beat: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._room = room
        self._late = LATE * beat
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        """What each living worker said of itself at the last `read`."""

    async def look(self) -> None:
        """List the life signs; raises OSError."""
        self._note(await self._room.do(self._names))

    def _names(self) -> dict[str, int]:
        with self._room.opened(WORKERS) as folder:
            return newest(files.names(folder))

    def _note(self, found: Mapping[str, int]) -> None:
        now = self._clock()
        for worker, number in found.items():
            known = self._seen.get(worker)
            if known is None or known[0] != number:
                self._seen[worker] = number, now
        for worker in self._seen.keys() - found.keys():
            del self._seen[worker]

    def alive(self) -> list[str]:
        """The living, in the order in which they began."""
        now = self._clock()
        return sorted(worker for worker, (_, when) in self._seen.items() if now - when < self._late)

    async def is_alive(self, worker: str) -> bool:
        """Whether a worker is alive; one that is unknown is looked for. Raises OSError."""
        if worker not in self._seen:
            await self.look()
        return worker in self.alive()

    async def read(self) -> None:
        """Read what the living say of themselves; raises OSError."""
        found = await self._room.do(self._read)
        self._note({worker: number for worker, (number, _) in found.items()})
        alive = set(self.alive())
        self.told = {worker: said for worker, (_, said) in found.items() if worker in alive}

    def _read(self) -> dict[str, tuple[int, dict[str, Any]]]:
        said = {}
        with self._room.opened(WORKERS) as folder:
            for worker, number in newest(files.names(folder)).items():
                content = maybe_read(folder, f"{worker}.{number}", _MAX_BYTES) or b"{}"
                try:
                    said[worker] = number, read_object(content, _MAX_BYTES)
                except ValueError:
                    said[worker] = number, {}
        return said

    async def clear(self) -> None:
        """Remove the life signs of the dead; for the agent. Raises OSError.

        Not of those who have come since the last look: nobody knows yet how they are.
        """
        dead = self._seen.keys() - set(self.alive())

        def work() -> None:
            with self._room.opened(WORKERS) as folder:
                for name in files.names(folder):
                    sign = _SIGN.fullmatch(name)
                    if sign is not None and sign["worker"] in dead:
                        writing.remove(folder, name)

        await self._room.do(work)


class LifeSign:
    """One worker's own life sign."""

    def __init__(self, room: Room, worker: str) -> None:
        self._room = room
        self._worker = worker
        self._number = 0

    async def give(self, said: Mapping[str, Any]) -> None:
        """Renew it; raises OSError."""
        content = json.dumps(said).encode()
        await self._room.do(lambda: self._give(content))

    def _give(self, content: bytes) -> None:
        with self._room.opened(WORKERS) as folder:
            number = self._number + 1
            name = f"{self._worker}.{number}"
            writing.put(folder, part_of(name), name, [content], durable=False)
            self._number = number
            self._remove(folder, all_but=number)

    def _remove(self, folder: int, all_but: int = -1) -> None:
        for name in files.names(folder):
            sign = _SIGN.fullmatch(name)
            if sign and sign["worker"] == self._worker and int(sign["number"]) != all_but:
                writing.remove(folder, name)

    async def end(self) -> None:
        """Take it away: the worker stops, or its last life is known to be over. Raises OSError."""

        def work() -> None:
            with self._room.opened(WORKERS) as folder:
                self._remove(folder)

        await self._room.do(work)


def newest(names: list[str]) -> dict[str, int]:
    """Each worker's highest number."""
    found: dict[str, int] = {}
    for name in names:
        sign = _SIGN.fullmatch(name)
        if sign is not None:
            number = int(sign["number"])
            found[sign["worker"]] = max(number, found.get(sign["worker"], 0))
    return found
