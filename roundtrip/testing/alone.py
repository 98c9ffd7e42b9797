"""A failing folder by itself, for tests of other code than the roles'."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

from roundtrip.shares.port import Folder
from roundtrip.testing.faults import Faults
from roundtrip.testing.folder import FaultyFolder, Life
from roundtrip.testing.view import View
from roundtrip.testing.weather import Access, Weather


def faulty(
    folder: Folder, faults: Faults, seed: int, access: Access = Access.MOUNT
) -> FaultyFolder:
    """`folder` as a host reaches it that has these faults; needs a running event loop.

    With `faults.kill` the task that makes a call may be cancelled in it, and so is each later call.
    """
    dice, clock = random.Random(seed), asyncio.get_running_loop().time
    view = View(faults.lag if access is Access.MOUNT else 0.0, dice, clock)
    alone = _Alone()
    return FaultyFolder(folder, access, Weather(faults, dice, clock), alone, alone, view=view)


class _Alone:
    """A life and its watcher: nobody else is told of anything."""

    def __init__(self) -> None:
        self.is_dead = False
        self._landing: set[asyncio.Task[None]] = set()

    def die(self, *, power: bool) -> None:
        self.is_dead = True

    def trace(self, life: Life, verb: str, place: str, fate: str) -> None:
        pass

    async def changed(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        pass

    def moved(self, label: str, name: str, to: str, new_name: str) -> None:
        pass

    def later(self, seconds: float, act: Callable[[], Coroutine[None, None, None]]) -> None:
        async def land() -> None:
            await asyncio.sleep(seconds)
            await act()

        task = asyncio.get_running_loop().create_task(land())
        self._landing.add(task)
        task.add_done_callback(self._landing.discard)
