"""What an agent tells of itself: its life sign on the share, and its health file at home.

The health file is for `status`, `doctor` and whoever watches this host: it is there also while a
share is not. It holds what is wrong, since when, and the figures of the last heartbeat.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roundtrip.agent.shares import SharePair
from roundtrip.errors import ShareError
from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import Namer
from roundtrip.protocol.states import Role
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.space import is_full
from roundtrip.shares.posix import PosixFolder

log = logging.getLogger("roundtrip.agent")

_BLOCK = 4096  # bytes of disk
_SPARE = 1024  # bytes that the next report may be longer, and still find room in the same blocks


@dataclass(frozen=True, slots=True)
class VitalsSettings:
    """`file` is the health file's name in the folder given beside it; `heartbeat` is in seconds."""

    role: Role
    version: str
    file: str
    heartbeat: float = 30.0


class Vitals:
    """Writes the life sign and the health file, from what `figures` says of the role's work.

    `details` are for the health file alone.
    """

    def __init__(
        self,
        shares: SharePair,
        state: PosixFolder,
        health: Health,
        settings: VitalsSettings,
        figures: Callable[[], dict[str, Any]],
        details: Callable[[], dict[str, Any]],
    ) -> None:
        self._shares = shares
        self._state = state
        self._health = health
        self._settings = settings
        self._figures = figures
        self._details = details
        self._namer = Namer()
        self._started = timestamp(time.time())
        self._last_count = (time.monotonic(), 0)
        self._told: dict[str, Any] = {}
        self._writing: asyncio.Task[None] | None = None
        self._stale = False
        self.last_beat = time.monotonic()

    def start(self) -> None:
        """Write the health file now, and whenever a condition begins or ends."""
        self._health.on_change = self.refresh
        self.refresh()

    async def stop(self) -> None:
        """Write what is known now and nothing more; the file stays, with the time of that."""
        self._health.on_change = lambda: None
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def beat(self) -> None:
        """Renew the life sign; on a full disk the last one stays, and nothing else depends on it.

        Raises:
            ShareError: the share can't be written.
        """
        self._told = self._fields()
        try:
            await self._shares.beat(self._namer, self._told)
        except ShareError as error:
            if not is_full(error.__cause__):
                raise
            text = (
                f"{self._shares.remote.label}: no room for this side's life sign, so the other "
                "host may take it for dead; make room there, or raise the quota"
            )
            self._health.report("life_sign", text, Severity.WARNING)
            return
        self._health.clear("life_sign")
        self.last_beat = time.monotonic()

    def refresh(self) -> None:
        """Write the health file soon."""
        self._stale = True
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._stale:
            self._stale = False
            content = json.dumps(self._report(), indent=1).encode()
            try:
                await self._put(content)
            except OSError as error:  # The log has the conditions, too.
                log.warning("health not written", extra={"error": str(error)})
        self._writing = None

    async def _put(self, content: bytes) -> None:
        """Write the file; on a full disk over what it held, or nobody would see what is wrong."""
        left = -len(content) % _BLOCK
        roomy = content if left >= _SPARE else content.ljust(len(content) + left + 1)
        try:
            await self._state.replace(self._settings.file, roomy)
        except OSError as error:
            if not is_full(error):
                raise
            self._state.overwrite(self._settings.file, content)

    def _report(self) -> dict[str, Any]:
        conditions = [condition._asdict() for condition in self._health.conditions()]
        fields = self._told or self._fields()
        now = timestamp(time.time())
        told = {**fields, **self._figures(), **self._details()}
        return {"v": 1, **told, "time": now, "conditions": conditions}

    def _fields(self) -> dict[str, Any]:
        figures = self._figures()
        return {
            "time": timestamp(time.time()),
            "role": self._settings.role.value,
            "started": self._started,
            "version": self._settings.version,
            "every": self._settings.heartbeat,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "per_minute": self._per_minute(figures["done"]),
            **figures,
        }

    def _per_minute(self, done: int) -> float:
        """Exchanges a minute since the last heartbeat."""
        (before, count), self._last_count = self._last_count, (time.monotonic(), done)
        return round((done - count) * 60 / max(self._last_count[0] - before, 0.001), 1)
