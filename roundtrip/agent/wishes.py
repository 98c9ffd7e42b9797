"""Tells the role of wishes: small files that a command puts into one of the agent's own folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from roundtrip.watch import Event, Kind, Watch, WatchSettings

log = logging.getLogger("roundtrip.agent")

_FOLDER = "wishes"


class WishWatch:
    """Calls `heed` when something comes into `path`; a listing finds what came before `start`."""

    def __init__(self, path: Path, heed: Callable[[], Awaitable[None]]) -> None:
        self._path = path
        self._heed = heed
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def start(self) -> None:
        """Watch, inside the running event loop.

        Raises:
            ShareError: the folder can't be watched.
        """
        self._watch = Watch(self._notice, WatchSettings())
        self._watch.add(_FOLDER, self._path, frozenset({Kind.APPEARED}))

    def _notice(self, events: list[Event]) -> None:
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="wishes")

    async def _run(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._heed()
            except OSError as error:  # The next full listing looks again.
                log.warning("wishes can't be read", extra={"error": str(error)})

    def close(self) -> None:
        """Tell of nothing more."""
        if self._watch is not None:
            self._watch.close()
        if self._task is not None:
            self._task.cancel()
