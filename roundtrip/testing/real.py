"""Real folders for a torture: both shares on the user's mount, everything else on the own disk."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import cast

from roundtrip.errors import ShareError
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.shares.identity import Identity
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.remote import RemoteShare
from roundtrip.testing.ground import Ground
from roundtrip.testing.storage import LABELS, SHARES, Files
from roundtrip.testing.timing import TimedShare, Timings
from roundtrip.testing.weather import Weather

CALL_TIMEOUT = 10.0
"""Seconds that one call on the share may take until its helper is given up."""

_TEND = 1.0  # seconds between two looks whether a share must be opened again
_AWAY = {"a": "unenriched", "b": "enriched"}


class RealStorage:
    """Satisfies `Storage`. What a host writes, it writes through a helper process, as agents do."""

    def __init__(self, ground: Ground, timings: Timings) -> None:
        self._ground = ground
        self._home = {
            label: PosixFolder(ground.path(label)) for labels in LABELS.values() for label in labels
        }
        self._away = {
            role: RemoteShare(
                ground.path(label), access="helper", durable=False, timeout=CALL_TIMEOUT
            )
            for role, label in _AWAY.items()
        }
        self._timed = {role: TimedShare(share, timings) for role, share in self._away.items()}
        self.reopened = 0

    async def open(self) -> None:
        """Open the shares.

        Raises:
            ShareError: one can't be used.
            OSError: one doesn't answer.
        """
        for share in self._away.values():
            await share.reopen(_accept)

    async def tend(self) -> None:
        """Open a share again when its helper was given up, as agents do; until cancelled."""
        while True:
            await asyncio.sleep(_TEND)
            for share in self._away.values():
                with suppress(OSError, ShareError):  # Tried again in a moment.
                    if not await share.is_current():
                        await share.reopen(_accept)
                        self.reopened += 1

    async def close(self) -> None:
        """Give everything back."""
        for share in self._away.values():
            await share.close()
        for folder in self._home.values():
            folder.close()

    def folder(self, role: str, label: str) -> Folder:
        if _AWAY[role] == label:
            return cast("Folder", self._timed[role])  # Nobody asks more of it than it can.
        return self._home[label]

    def files(self) -> Files:
        return {label: self._contents(label) for label in self._home}

    def _contents(self, label: str) -> dict[str, bytes]:
        found = {}
        folder = self._ground.path(label)
        for name in os.listdir(folder):
            if name != INTERNAL_FOLDER:
                with suppress(FileNotFoundError):  # It has moved on.
                    found[name] = (folder / name).read_bytes()
        return found

    def has(self, label: str, name: str) -> bool:
        return (self._ground.path(label) / name).exists()

    def write(self, label: str, name: str, content: bytes) -> None:
        fresh = self._ground.private / name
        fresh.write_bytes(content)
        fresh.rename(self._ground.path(label) / name)

    def take(self, label: str, name: str) -> bool:
        try:
            (self._ground.path(label) / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def note(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        """A real disk knows."""

    def note_move(self, label: str, name: str, to: str, new_name: str) -> None:
        """A real disk knows."""

    def cut_power(self, role: str, weather: Weather) -> None:
        """Never asked for: that is done to real hosts only."""


async def _accept(found: Identity | None) -> None:
    if found is None:
        raise ShareError(f"{'/'.join(SHARES)}: the folder of this torture has gone")
