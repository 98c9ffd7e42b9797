"""A payload's records through the steps: several at once, written in the order they came.

records --known answers--> done ----------------------+
    \\--else a task: call, call, ... (window) --> done --+--in order--> writer
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence

from roundtrip.enrich.calls import Calls, unpacked
from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record, Writer
from roundtrip.enrich.results import Stats
from roundtrip.enrich.steps import Call, Step

SLICE = 0.005  # seconds of work before others get their turn on the loop
MAX_WAITING = 1000  # records of a payload read and not yet written
MAX_BYTES = 32 * 1024 * 1024  # of records read and not yet written, as long as there are several
SEVERITY = ("annotate", "drop", "fail")


class RecordRun:
    """One payload's way through a pipeline of record steps."""

    def __init__(self, steps: Sequence[Step], calls: Calls, stats: Stats, waiting: int) -> None:
        """`waiting`: how many records may be under way at once."""
        self._steps = steps
        self._calls = calls
        self._stats = stats
        self._waiting = min(waiting, MAX_WAITING)
        self._window: deque[tuple[Record, asyncio.Task[None] | None]] = deque()
        self._bytes = 0
        self._strictest = max((step.on_error for step in steps), key=SEVERITY.index, default="")

    async def run(self, records: Iterator[Record], writer: Writer) -> None:
        """Enrich and write all records. Raises PayloadFault; calls under way are then ended."""
        until = time.perf_counter() + SLICE
        try:
            for record in records:
                self._window.append((record, self._started(record)))
                self._bytes += record.size
                await self._write_finished(writer, self._waiting)
                if time.perf_counter() > until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + SLICE
            await self._write_finished(writer, 0)
            writer.close()
        finally:
            await self._end_tasks()

    def _started(self, record: Record) -> asyncio.Task[None] | None:
        """Use the answers that are known; a task for the rest, if there is any."""
        self._stats.records += 1
        if record.unreadable is not None:
            self._refuse(record, record.unreadable)
            return None
        for index, step in enumerate(self._steps):
            if record.dropped:
                return None
            call = self._prepared(step, record)
            if call is None:
                continue
            stored = self._calls.stored(step, call)
            if stored is None:
                rest = self._rest(record, call, index)
                return asyncio.get_running_loop().create_task(rest)
            self._store(step, record, stored)
        return None

    async def _rest(self, record: Record, call: Call | None, index: int) -> None:
        await self._called(self._steps[index], record, call)
        for step in self._steps[index + 1 :]:
            if record.dropped:
                return
            await self._called(step, record, self._prepared(step, record))

    async def _called(self, step: Step, record: Record, call: Call | None) -> None:
        if call is None:
            return
        try:
            record.fields[step.into] = await self._calls.answer(step, call)
        except RecordFault as fault:
            self._failed(step, record, fault)

    def _prepared(self, step: Step, record: Record) -> Call | None:
        try:
            return step.call(record.fields)
        except RecordFault as fault:
            named = RecordFault(fault.title, f"step {step.name}: {fault.detail}", fault.status)
            self._failed(step, record, named)
            return None

    def _store(self, step: Step, record: Record, stored: bytes) -> None:
        try:
            record.fields[step.into] = unpacked(stored)
        except RecordFault as fault:
            self._failed(step, record, fault)

    def _failed(self, step: Step, record: Record, fault: RecordFault) -> None:
        record.faults[step.into] = fault
        if step.on_error == "annotate":
            record.fields[step.into] = {"error": fault.as_dict()}
        self._act(step.on_error, record, fault)

    def _refuse(self, record: Record, fault: RecordFault) -> None:
        """An unreadable record fails each step, so the strictest `on_error` decides."""
        record.faults[""] = fault
        self._act(self._strictest, record, fault)

    def _act(self, on_error: str, record: Record, fault: RecordFault) -> None:
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
            writer.write(record)

    async def _end_tasks(self) -> None:
        tasks = [task for _, task in self._window if task is not None]
        for task in tasks:
            task.cancel()
        # their errors don't count any more: the first one, or the withdrawal, is on its way up
        await asyncio.gather(*tasks, return_exceptions=True)


def columns(steps: Sequence[Step]) -> list[Column]:
    """The columns that steps add to a table, in the order of steps and their `select`."""
    found = []
    for step in steps:
        members = step.selected
        found += [Column(f"{step.into}.{member}", step.into, member) for member in members]
        if not members:
            found.append(Column(step.into, step.into))
        if step.on_error == "annotate" and "error" not in members:
            found.append(Column(f"{step.into}.error", step.into, error=True))
    return found
