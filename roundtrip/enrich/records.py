"""A payload's records through the steps: several at once, written in the order they came.

records --known answers--> done ------------------------------------+
    \\--else a task: the calls that are due, then those that wait   |
                     for them, ...          (window) ----> done ----+--in order--> writer
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, cast

from roundtrip.enrich.calls import Calls, unpacked
from roundtrip.enrich.compiled import Compiled, Link
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Record, Writer
from roundtrip.enrich.results import Stats
from roundtrip.enrich.steps import Call, LocalCall

SLICE = 0.005  # seconds of work before others get their turn on the loop
MAX_BYTES = 32 * 1024 * 1024  # of records read and not yet written, as long as there are several

Due = tuple[Link, Call]


class RecordRun:
    """One payload's way through a pipeline of record steps."""

    def __init__(self, pipeline: Compiled, calls: Calls, stats: Stats) -> None:
        self._pipeline = pipeline
        self._calls = calls
        self._stats = stats
        self._window: deque[tuple[Record, asyncio.Task[None] | None]] = deque()
        self._bytes = 0

    async def run(self, records: Iterator[Record], writer: Writer) -> None:
        """Enrich and write all records. Raises PayloadFault; calls under way are then ended."""
        until = time.perf_counter() + SLICE
        waiting = self._pipeline.waiting
        try:
            for record in records:
                self._window.append((record, self._started(record)))
                self._bytes += record.size
                await self._write_finished(writer, waiting)
                if time.perf_counter() > until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + SLICE
            await self._write_finished(writer, 0)
            writer.close()
        finally:
            try:
                await _end([task for _, task in self._window if task is not None])
            finally:
                self._calls.close()

    def _started(self, record: Record) -> asyncio.Task[None] | None:
        """Use the answers that are known; a task for the rest, if there is any."""
        self._stats.records += 1
        if record.unreadable is not None:
            self._refuse(record, record.unreadable)
            return None
        way = _Way(self, record)
        due = way.due()
        if not due:
            return None
        return asyncio.get_running_loop().create_task(way.go(due))

    def _refuse(self, record: Record, fault: RecordFault) -> None:
        """An unreadable record fails each step, so the strictest `on_error` decides."""
        record.faults[""] = fault
        act(self._pipeline.strictest, record, fault)

    async def _write_finished(self, writer: Writer, waiting: int) -> None:
        """Write what is finished at the front; wait for the front while too much is under way."""
        window = self._window
        while window:
            record, task = window[0]
            if task is not None:
                full = len(window) > waiting or (self._bytes > MAX_BYTES and len(window) > 1)
                if not task.done() and not full:
                    return
                await task
            window.popleft()
            self._bytes -= record.size
            self._write(writer, record)

    def _write(self, writer: Writer, record: Record) -> None:
        if record.faults:
            self._stats.failed += 1
        else:
            self._stats.ok += 1
        if not record.dropped:
            self._pipeline.put_in_order(record.fields)
        writer.write(record)  # dropped ones too: see Writer.write


class _Way:
    """One record on its way through the graph; `begun` and `ended` are bit masks of nodes."""

    __slots__ = ("_begun", "_calls", "_came", "_ended", "_pipeline", "_record")

    def __init__(self, run: RecordRun, record: Record) -> None:
        self._pipeline = run._pipeline
        self._calls = run._calls
        self._record = record
        self._begun = 0
        self._ended = 0
        self._came: Mapping[str, Any] = dict(record.fields) if run._pipeline.sends_all else {}

    def due(self) -> list[Due]:
        """Do what needs no waiting; the calls that have to be made now."""
        found: list[Due] = []
        again = True
        while again and not self._record.dropped:
            again = False
            for first in self._pipeline.firsts:
                if self._begun & first.bit or first.needs & ~self._ended:
                    continue
                self._begun |= first.bit
                call = None if first.skips(self._record.fields) else self._unanswered(first)
                if call is not None:
                    found.append(call)
                else:
                    self._ended |= first.bit
                    again = True
        return found

    async def go(self, due: list[Due]) -> None:
        """Make the calls that are due, each followed by those that waited for it."""
        if len(due) == 1:
            await self._one(*due[0])
        else:
            await _all([self._one(*call) for call in due])

    async def _one(self, link: Link, call: Call) -> None:
        bit = link.bit
        while True:
            try:
                answer = await self._calls.answer(link.step, call)
                self._record.fields[link.into] = answer
                break
            except RecordFault as fault:
                instead = self._instead(link, fault)
                if instead is None:
                    break
                link, call = instead
        self._ended |= bit
        due = self.due()
        if due:
            await self.go(due)

    def _unanswered(self, link: Link) -> Due | None:
        """The link's call, or its fallback's, unless the answer is known or it can't be made."""
        try:
            call = link.step.call(self._fields(link))
            if link.step.local:
                return self._at_once(link, call)
            stored = self._calls.stored(link.step, call)
            if stored is None:
                return link, call
            self._record.fields[link.into] = unpacked(stored)
        except RecordFault as fault:
            return self._instead(link, fault.of(link.step.name))
        return None

    def _at_once(self, link: Link, call: Call) -> Due | None:
        found = cast("LocalCall", call).at_once()
        if found is None:
            return link, call
        self._record.fields[link.into] = found.value
        return None

    def _instead(self, link: Link, fault: RecordFault) -> Due | None:
        """The fallback's call; without one the step has failed."""
        if link.fallback is not None:
            return self._unanswered(link.fallback)
        self._record.faults[link.into] = fault
        if link.on_error == "annotate":
            self._record.fields[link.into] = {"error": fault.as_dict()}
        act(link.on_error, self._record, fault)
        return None

    def _fields(self, link: Link) -> Mapping[str, Any]:
        """What the link may see. No error leaves the host: it says what went wrong inside."""
        fields, faults = self._known(link), self._record.faults
        if not faults or not link.leaves:
            return fields
        return {name: value for name, value in fields.items() if name not in faults}

    def _known(self, link: Link) -> Mapping[str, Any]:
        """The record and its answers. One that sends all must not see those that came by chance."""
        if not link.sends_all:
            return self._record.fields
        waited = {
            into: self._record.fields[into] for into in link.sees if into in self._record.fields
        }
        return {**self._came, **waited}


def act(on_error: str, record: Record, fault: RecordFault) -> None:
    """Do with the record what the step says about errors; raises PayloadFault for `fail`."""
    if on_error == "fail":
        position = {"record": record.position}
        raise PayloadFault(
            fault.title,
            f"{fault.detail} (record at {record.position}; on_error: fail)",
            status=fault.status,
            position=position,
        )
    if on_error == "drop":
        record.dropped = True


async def _all(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first error ends the others."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    # their errors don't count any more: the first one, or the withdrawal, is on its way up
    await asyncio.gather(*tasks, return_exceptions=True)
