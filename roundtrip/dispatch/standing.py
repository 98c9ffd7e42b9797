"""A worker's standing among the others: its life sign, its share of the limits, whether it works.

joining --SETTLE beats, unless nobody else is there--> working   the first `places` workers
                                                  \\--> standby   the others: one more would
                                                                 exceed a limit
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from roundtrip.dispatch.roll import SETTLE, LifeSign, Roll
from roundtrip.dispatch.room import Room
from roundtrip.enrich.limits import Share

log = logging.getLogger("roundtrip.dispatch")


class Standing:
    """Beats from `run` on; `changed` is set whenever the attributes say something else."""

    def __init__(
        self,
        room: Room,
        worker: str,
        *,
        beat: float,
        places: int,
        say: Callable[[], Mapping[str, Any]],
        each_beat: Callable[[], Awaitable[None]],
    ) -> None:
        """`places`: as many workers can share the limits. `say`: what the life sign tells."""
        self.roll = Roll(room, beat)
        self.share: Share | None = None
        """This worker's part of the limits; None: it takes no jobs now."""
        self.stands_by = False
        """Whether the limits have no room for one more worker."""
        self.away: OSError | None = None
        """Why the folder can't be used now."""
        self.changed = asyncio.Event()
        self._room = room
        self._sign = LifeSign(room, worker)
        self._worker = worker
        self._beat = beat
        self._places = places
        self._say = say
        self._each_beat = each_beat
        self._beats = 0

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self._one()
                if self.away is not None:
                    log.info("queue folder back")
                self.away = None
            except OSError as error:
                if self.away is None:
                    log.warning("queue folder away", extra={"error": str(error)})
                    self.changed.set()
                self.away = error
            await asyncio.sleep(self._beat)

    async def _one(self) -> None:
        await self._sign.give({**self._say(), "works": self.share is not None})
        await self.roll.look()
        self._judge()
        self._beats += 1
        await self._each_beat()

    def _judge(self) -> None:
        alive = self.roll.alive()
        if self._worker not in alive:
            return  # Our own sign isn't seen yet.
        number, of = alive.index(self._worker), min(len(alive), self._places)
        # All who are there must have seen us first, and keep to less from then on.
        joins = self.share is None and len(alive) > 1 and self._beats < SETTLE
        share = None if joins or number >= of else Share(number, of)
        if self.stands_by != (number >= of):
            self.stands_by = number >= of
            self.changed.set()
        if share != self.share:
            self.share = share
            self.changed.set()
            said = {"workers": len(alive), "share": f"{number + 1} of {of}" if share else None}
            log.info("share of limits", extra=said)

    async def end(self, worker: str | None = None) -> None:
        """Take the life sign away, or that of an earlier life that is known to be over."""
        sign = self._sign if worker is None else LifeSign(self._room, worker)
        await sign.end()
