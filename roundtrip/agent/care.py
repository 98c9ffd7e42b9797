"""Keeps the two shares usable: notices when one goes, holds the work, goes on when it is back.

a call fails, or the timer looks --> hold --> open, verify, life sign --> resume, list both
                                      ^              |
                                      +--- not yet --+
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from roundtrip.agent.shares import SharePair
from roundtrip.errors import ShareAway, ShareError
from roundtrip.roles.health import Health
from roundtrip.roles.space import is_full

log = logging.getLogger("roundtrip.agent")

_PAUSE = 2.0  # seconds between two looks for a share that is away
_WAITS = "exchanges wait, nothing is lost, and it goes on by itself once the share is back"


class Work(Protocol):
    """What needs the shares."""

    def hold(self) -> None:
        """Touch the shares no more."""

    async def resume(self) -> None:
        """Both shares are there and verified: go on.

        Raises:
            OSError, ShareError: they can't be used after all.
        """


class ShareCare:
    """Holds and resumes an agent's work as its shares go and come."""

    def __init__(self, shares: SharePair, health: Health, work: Work) -> None:
        self._shares = shares
        self._health = health
        self._work = work
        self._recovery: asyncio.Task[None] | None = None
        self._reason: ShareError | None = None
        self.lost = 0
        shares.remote.on_trouble = self.trouble

    @property
    def ok(self) -> bool:
        """Whether both shares can be used."""
        return self._recovery is None

    async def start(self, *, patient: bool) -> None:
        """Open both shares; with `patient`, a share that was there before may come later.

        Raises:
            ShareError: the local share isn't usable, or the other one isn't and never was.
        """
        await self._shares.open_local()
        try:
            await self._shares.open_remote()
        except ShareAway as error:
            if not patient or not await self._shares.was_here():
                raise
            self._hold(error)

    async def must_be_back(self, seconds: float) -> None:
        """Wait so long for a share that is away.

        Raises:
            ShareError: it is not back.
        """
        if self._recovery is not None:
            await asyncio.wait([self._recovery], timeout=seconds)
        if self._recovery is not None and self._reason is not None:
            raise self._reason

    def trouble(self, error: OSError) -> None:
        """A call on the mounted share failed in a way that others will fail, too.

        A full disk holds up what is to be written there (`Room`), and nothing else: what is
        collected and removed makes room.
        """
        if self._recovery is None and not is_full(error):
            self._hold(ShareAway(f"{self._shares.remote.label}: {error.strerror or error}"))

    async def check(self) -> None:
        """Look whether both paths still lead to what was verified; for the timer.

        Raises:
            OSError: a path can't be looked at.
        """
        if self._recovery is None and not await self._shares.are_current():
            self._hold(None)

    def _hold(self, error: ShareError | None) -> None:
        if self._recovery is not None:  # A call has noticed it while the timer was looking.
            return
        self.lost += 1
        log.error("share lost; waiting for it")
        self._work.hold()
        if error is not None:
            self._tell(self._shares.remote_name, error)
        self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        while True:
            if await self._is_back():
                self._recovery = None
                log.info("share back")
                return
            await asyncio.sleep(_PAUSE)

    async def _is_back(self) -> bool:
        shares = self._shares
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            (shares.local_name, shares.open_local),
            (shares.remote_name, shares.open_remote),
            (shares.remote_name, self._work.resume),
        )
        for share, step in steps:
            try:
                await step()
            except (OSError, ShareError) as error:
                self._work.hold()
                self._tell(share, error)
                log.warning("share not back", extra={"reason": str(error)})
                return False
        for share in (shares.local_name, shares.remote_name):
            self._health.clear(f"share.{share}")
        return True

    def _tell(self, share: str, error: OSError | ShareError) -> None:
        self._reason = error if isinstance(error, ShareError) else ShareAway(str(error))
        self._health.report(f"share.{share}", f"{error}; {_WAITS}")

    async def stop(self) -> None:
        """Look for nothing more."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
