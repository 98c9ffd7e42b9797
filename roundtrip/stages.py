"""How far an exchange is, as far as host A can tell without waiting for a mount that hangs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from roundtrip.config import Settings
from roundtrip.glance import Glance
from roundtrip.places import Places
from roundtrip.protocol.names import marker_of
from roundtrip.protocol.states import Names, State, state_of


class Stages:
    """Looks at exchanges again and again; a context manager that keeps the shares open for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = Places(settings)
        self._opened = AsyncExitStack()
        self._shares: Glance | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    async def of(self, exchange: str) -> str:
        """`submitted`, `pending`, a state of the protocol, or `unknown`.

        While a share is away, what was published there counts as pending.
        """
        if (self._places.submit / exchange).exists():
            return "submitted"
        try:
            state = state_of(await self._names(exchange))
        except OSError:  # It has gone or hangs: look at what is at its path the next time.
            await self._forget()
            state = State.ABSENT
        if state is not State.ABSENT:
            return state.value
        return "pending" if (self._places.pending / exchange).exists() else "unknown"

    async def _names(self, exchange: str) -> Names:
        shares = self._shares
        if shares is None:
            shares = self._shares = await self._opened.enter_async_context(Glance(self._settings))
        there = []
        for look in (shares.unenriched, shares.enriched):
            for name in (exchange, marker_of(exchange)):
                if look.folder is None:
                    raise OSError(look.health)
                there.append(await look.folder.stat(name) is not None)
        return Names(*there)

    async def _forget(self) -> None:
        self._shares = None
        await self._opened.aclose()
