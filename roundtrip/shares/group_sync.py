"""Group commit: the fsyncs of one turn of the event loop are done together."""

from __future__ import annotations

import asyncio
import os


class GroupSync:
    """fsync(2) for everybody who asks for it in the same turn of the loop.

    The first fsync makes the file system commit what all of them wrote, the others find little left
    to do, and a folder that many renamed into is synced once. It blocks the loop on purpose: what
    arrives meanwhile makes the next group larger, and a thread would cost a lone exchange more than
    the fsync itself does (docs/explanation/durability.md).
    """

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def sync(self, descriptor: int) -> None:
        """Return once everything written through or into `descriptor` so far is on the disk.

        Raises:
            OSError: as fsync(2); what was written may be lost, whatever a later fsync says.
        """
        done = self._waiting.get(descriptor)
        if done is None:
            loop = asyncio.get_running_loop()
            done = self._waiting[descriptor] = loop.create_future()
            if len(self._waiting) == 1:
                loop.call_soon(self._sync_all)
        await asyncio.shield(done)

    def _sync_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for descriptor, done in waiting.items():
            try:
                os.fsync(descriptor)
            except OSError as error:
                done.set_exception(error)
            else:
                done.set_result(None)
