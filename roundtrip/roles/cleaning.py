"""What may go from the requester's own folders: what is old, and what a killed life left behind."""

from __future__ import annotations

import time
from collections.abc import Container

from roundtrip.protocol.names import created_of
from roundtrip.roles import ticket as tickets
from roundtrip.roles.desk import Desk
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder

_DAY = 86400.0
_DEAD = _DAY  # after which no program is still handing in what it began
_UNCLAIMED = 30 * _DAY  # after which nobody comes for the record of an outcome


async def clean(desk: Desk, known: Container[str], archive_keep: float | None) -> None:
    """Remove what nobody needs; `known` are the exchanges that A is not done with."""
    for folder in (desk.submit, desk.tickets, desk.outcomes):
        await sweep_parts(folder, older_than=_DEAD)  # Programs may be submitting now.
    await _drop_tickets(desk, known)
    await _drop_outcomes(desk.outcomes)
    if desk.archive is not None and archive_keep is not None:
        await _drop_originals(desk.archive, archive_keep)


async def _drop_tickets(desk: Desk, known: Container[str]) -> None:
    """A ticket precedes its original and outlives it: a kill at either end leaves it behind."""
    for name in await desk.tickets.names():
        exchange = tickets.exchange_of(name)
        if exchange is None or exchange in known or await desk.submit.stat(exchange):
            continue
        ticket = await tickets.read(desk.tickets, exchange)
        age = time.time() - (created_of(exchange) or 0.0)
        if not ticket.reply or age > _DEAD:
            await desk.tickets.remove(name)


async def _drop_outcomes(outcomes: Folder) -> None:
    oldest = (time.time() - _UNCLAIMED) * 1e9
    for name in await outcomes.names():
        entry = await outcomes.stat(name)
        if entry is not None and entry.changed < oldest:
            await outcomes.remove(name)


async def _drop_originals(archive: Folder, keep: float) -> None:
    oldest = time.time() - keep
    for name in await archive.names():
        created = created_of(name)
        if created is not None and created < oldest:
            await archive.remove(name)
