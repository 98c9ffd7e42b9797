"""Format raw: the first step gets the whole payload, and the last one's answer is the result.

Small answers go into the ledger; one that is too large for it is asked for again after a crash.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO, cast

from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps import Step

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SMALL = 1024 * 1024  # bytes: up to here a payload is handled in one piece and on the loop
CHUNK = 1024 * 1024  # bytes


async def pass_through(
    steps: Sequence[Step], name: str, source: BinaryIO, sink: BinaryIO, run: Run
) -> str | None:
    """Send `source` through all steps, the last answer into `sink`; its media type.

    Raises PayloadFault: there is no record that an error could be written into.
    """
    run.stats.records = 1
    try:
        with ExitStack() as opened:
            for number, step in enumerate(steps[:-1]):
                run.part = (number, len(steps))
                between = opened.enter_context(tempfile.SpooledTemporaryFile(max_size=SMALL))
                await _once(step, name, source, cast("BinaryIO", between), run)
                source = cast("BinaryIO", between)
            run.part = (len(steps) - 1, len(steps))
            media_type = await _once(steps[-1], name, source, sink, run)
    except RecordFault as fault:
        raise PayloadFault(
            fault.title, fault.detail, status=fault.status, members=fault.members
        ) from None
    run.stats.ok = 1
    return media_type


async def _once(step: Step, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
    """The step's answer, from the ledger if it was paid for before a crash."""
    ledger = run.store.ledger
    size = source.seek(0, 2)
    key = _key(step, source) if size <= SMALL else await asyncio.to_thread(_key, step, source)
    paid = ledger.get(run.exchange, key)
    if paid is not None:
        run.stats.cached += 1
        media_type, _, content = paid.partition(b"\n")
        sink.write(content)
        return media_type.decode() or None

    answered: str | None = None

    async def pay() -> None:
        nonlocal answered
        noted = _Noted(sink)
        answered = await step.whole(name, source, cast("BinaryIO", noted), run)
        if noted.content is not None:
            ledger.put(run.exchange, key, f"{answered or ''}\n".encode() + noted.content)

    await run.store.room()  # what can't be written down must not be paid for
    task = asyncio.get_running_loop().create_task(pay())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await run.end(task)
        raise
    return answered


def _key(step: Step, source: BinaryIO) -> bytes:
    """A digest of the step without its secrets, and of all that it gets."""
    digest = blake2b(repr(step.settings).encode(), digest_size=16)
    source.seek(0)
    while piece := source.read(CHUNK):
        digest.update(piece)
    source.seek(0)
    return digest.digest()


class _Noted:
    """Passes on what is written, and keeps it as long as it is small; `content` is None else."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.content: bytes | None = b""

    def write(self, piece: ReadableBuffer) -> int:
        if self.content is not None:
            whole = self.content + bytes(piece)
            self.content = whole if len(whole) <= SMALL else None
        return self._sink.write(piece)
