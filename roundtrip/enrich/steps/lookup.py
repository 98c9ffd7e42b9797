"""The `lookup` step: a local file as a table, and the record's row in it as the answer.

Nothing leaves the host and nothing is paid for, so there is no gate, no cache, and no call counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from typing import BinaryIO

from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.selecting import Selection
from roundtrip.enrich.settings import LookupSettings, StepSettings
from roundtrip.enrich.steps import Answered, Call
from roundtrip.enrich.steps.tables import BrokenTable, Busy, Table, UnusableKey, check
from roundtrip.enrich.steps.tables.file import TableFile
from roundtrip.template import Fields, Template

PAUSE = 0.05  # seconds until a table that another program is writing is tried again


class LookupCall:
    """One key to be looked up."""

    __slots__ = ("_key", "step", "text")

    def __init__(self, step: Lookup, text: str) -> None:
        self.step = step
        self.text = text
        self._key = b""

    @property
    def key(self) -> bytes:
        """See `Call.key`; another one for each state of the file."""
        if not self._key:  # most look-ups are answered without
            digest = blake2b(self.step.identity + self.step.file.version, digest_size=16)
            digest.update(self.text.encode())
            self._key = digest.digest()
        return self._key

    def at_once(self) -> Answered | None:
        """The answer, when nothing has to be waited for. Raises RecordFault."""
        table = self.step.file.at_hand()
        if table is None:
            return None
        try:
            return self.step.answer(table, self.text)
        except Busy:
            return None

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`; a file that has to be read first takes the time that it takes."""
        step, loop = self.step, asyncio.get_running_loop()
        until: float | None = None
        while True:
            table = step.file.at_hand() or await step.file.loaded()
            try:
                return step.answer(table, self.text)
            except Busy:
                until = until or loop.time() + step.settings.timeout
            if loop.time() > until:
                detail = f"{step.where}: another program is writing the table"
                raise PassingFault("No answer in time", detail)
            await asyncio.sleep(PAUSE)


class Lookup:
    """A `lookup` step ready to run; implements `Step`."""

    local = True  # its answers are at hand: to keep them elsewhere would cost more than they do

    def __init__(self, settings: StepSettings, lookup: LookupSettings) -> None:
        """ValueError, in one line, when the file isn't there or doesn't fit the settings."""
        self.settings = settings
        self.name = settings.name
        self.into = settings.into or settings.name
        self.selection = Selection(settings.select)
        self.selected = self.selection.names
        self.where = f"step {settings.name}"
        check(lookup)
        self.file = TableFile(lookup, self.where)
        self._key = Template(lookup.key)
        self._missing_is_error = lookup.missing == "error"
        parts = (self.name, lookup.file, lookup.column, lookup.table, lookup.missing)
        self.identity = b"lookup" + repr(parts).encode() + self.selection.identity

    def call(self, fields: Fields) -> LookupCall:
        """See `Step.call`."""
        return LookupCall(self, self._key.render(fields, _valid))

    async def together(self, calls: Sequence[Call], run: Run) -> list[Answered | RecordFault]:
        """See `Step.together`; such a step can't be made with `batch`."""
        raise NotImplementedError

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        """See `Step.whole`; there is no record to look up."""
        raise StepFault("Unusable step", f"{self.where}: format raw has no records")

    def answer(self, table: Table, key: str) -> Answered:
        """What is selected from the key's row. Raises RecordFault and Busy."""
        try:
            row = table.get(key)
        except UnusableKey as error:
            raise RecordFault("Unusable field", f"{self.where}: {error}") from None
        except BrokenTable as error:
            raise StepFault("Unusable table", f"{self.where}: {error}") from None
        if row is not None:
            return Answered(self.selection.of(row, self.where))
        if self._missing_is_error:
            raise RecordFault("Unknown key", f"{self.where}: the table has no such key")
        return Answered(None)


def _valid(text: str) -> str:
    text.encode()  # a lone surrogate: the template's fault says which field
    return text
