"""All deliveries of an agent: one runner for each, which start and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from roundtrip.deliver.entry import exchange_of, file_of
from roundtrip.deliver.runner import Runner
from roundtrip.deliver.shelf import Store

_BETWEEN = "~"
"""Stands in a wish between exchange and delivery; no delivery's name has one."""


def wish_of(exchange: str, delivery: str) -> str:
    """The name of the file that tells a running agent what has become due again."""
    return f"{exchange}{_BETWEEN}{delivery}"


class Deliveries:
    """The runners, and the wishes of commands about them."""

    def __init__(self, runners: Sequence[Runner], wishes: Store | None = None) -> None:
        self.runners = runners
        self._wishes = wishes

    async def start(self) -> None:
        """Begin. Wishes from before are void: what is due is pushed anyway."""
        for name in await self._wished():
            await self._forget(name)
        for runner in self.runners:
            runner.start()

    async def heed_wishes(self) -> None:
        """Do what commands have asked for."""
        runners = {runner.settings.name: runner for runner in self.runners}
        for name in await self._wished():
            exchange, _, delivery = name.rpartition(_BETWEEN)
            await self._forget(name)
            if delivery in runners and exchange_of(file_of(exchange)):
                runners[delivery].hasten(exchange)

    async def _wished(self) -> list[str]:
        if self._wishes is None:
            return []
        names = await self._wishes.names()
        return [name for name in names if _BETWEEN in name and not name.startswith(".")]

    async def _forget(self, name: str) -> None:
        assert self._wishes is not None
        await self._wishes.remove(name)

    def is_busy(self, horizon: float = 0.0) -> bool:
        """Whether anything is being delivered, or due within `horizon` seconds."""
        return any(runner.is_busy(horizon) for runner in self.runners)

    async def until_idle(self, horizon: float) -> None:
        """Wait until nothing is being delivered, or due within `horizon` seconds."""
        while self.is_busy(horizon):
            for runner in self.runners:
                await runner.until_idle(horizon)

    async def stop(self) -> None:
        """End soon; what is not delivered stays due."""
        await asyncio.gather(*(runner.stop() for runner in self.runners))
