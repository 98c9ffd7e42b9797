"""A table's file: opened when it is first needed, and again when it was replaced."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from roundtrip.enrich.faults import StepFault
from roundtrip.enrich.settings import LookupSettings
from roundtrip.enrich.steps.tables import BrokenTable, Table, opened

LOOK = 1.0  # seconds between two looks whether the file has changed

log = logging.getLogger("roundtrip.enrich")

Version = tuple[int, ...]  # empty: the file can't be seen


class TableFile:
    """Hands out the table as the file has it now; as it was, while the file is broken."""

    def __init__(
        self,
        settings: LookupSettings,
        where: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`where` begins a fault's text."""
        self._settings = settings
        self._where = where
        self._clock = clock
        self._next_look = 0.0
        self._seen: Version = ()
        self._tried: Version | None = None
        self._table: Table | None = None
        self._problem = ""
        self._loading: asyncio.Task[None] | None = None

    @property
    def version(self) -> bytes:
        """What tells one state of the file from another, as of the last look at it."""
        self._look()
        return repr(self._seen).encode()

    def at_hand(self) -> Table | None:
        """The table, if nothing has to be read first. StepFault when there is none to be had.

        It may be closed as soon as the caller awaits anything.
        """
        self._look()
        return self._present() if self._tried == self._seen else None

    def _look(self) -> None:
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK
            self._seen = _version(self._settings.file)
            if self._table is None:
                self._tried = None

    async def loaded(self) -> Table:
        """The table, once the file has been read; it is read once for all that wait for it.

        Raises StepFault. What `at_hand` says of closing holds here, too.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        # shielded: a payload that is withdrawn must not end what others wait for
        await asyncio.shield(self._loading)
        return self._present()

    def _present(self) -> Table:
        if self._table is None:
            raise StepFault("Unusable table", f"{self._where}: {self._problem}")
        return self._table

    async def _load(self) -> None:
        tried = self._seen
        try:
            fresh = await asyncio.to_thread(opened, self._settings)
        except BrokenTable as error:
            self._problem = str(error)
            if self._table is not None:
                log.warning("table not reloaded", extra={"reason": self._problem})
        else:
            if self._table is not None:
                self._table.close()
                log.info("table reloaded", extra={"file": self._settings.file})
            self._table = fresh
        finally:
            self._loading = None
        self._tried = tried


def _version(file: str) -> Version:
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
