"""A simulated host: one role's lives, one after the other, as its agent leads them.

Each life has a fresh role and schedule and knows what is on the disk, nothing more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from roundtrip.agent.schedule import Schedule
from roundtrip.errors import ShareError
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import SharedFolder

Side = Requester | Responder
_LOOKS = 8  # at once


class AgentLife:
    """One process of an agent, from its start to its death."""

    def __init__(self, host: Host) -> None:
        self.is_dead = False
        self.host = host
        self.schedule = Schedule(self._look, _LOOKS)
        self.ends: list[Callable[[], None]] = []
        """Called at its death."""
        self._over = asyncio.Event()
        self._lost_track = asyncio.Event()
        self.side, self._mount = host.build(self)

    def die(self, *, power: bool) -> None:
        """SIGKILL, or with `power` the host's power cut."""
        if self.is_dead:
            return
        self.is_dead = True
        self.schedule.pause()
        for end in self.ends:
            end()
        self._over.set()
        self.host.deaths += 1
        self.host.died()
        if power:
            self.host.lose_power()

    async def live(self) -> None:
        """Serve until death."""
        serving = asyncio.get_running_loop().create_task(self._serve())
        await self._over.wait()
        serving.cancel()

    async def _serve(self) -> None:
        self.schedule.pause()
        try:
            await self._begin()
        except (OSError, ShareError):  # An agent that can't begin ends, and is started again.
            self.die(power=False)
            return
        except Exception as error:
            self.host.defects.append(f"at the start: {error!r}")
            raise
        self.schedule.resume()
        await self._keep_up()

    async def _begin(self) -> None:
        await self.side.start()
        await sweep_parts(self._mount)
        await self._rescan()

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):  # Time for a listing.
                await asyncio.wait_for(self._lost_track.wait(), self.host.poll)
            self._lost_track.clear()
            try:
                await self._rescan()
            except OSError:
                await asyncio.sleep(min(30.0, self.host.poll))
                self._lost_track.set()

    async def _rescan(self) -> None:
        for name in await self.side.rescan():
            self.schedule.wake(name)

    async def _look(self, name: str) -> float | None:
        self.host.looks += 1
        try:
            return await self.side.look(name)
        except OSError:
            self.host.failed(name)
            raise
        except Exception as error:
            self.host.defects.append(f"{name}: {error!r}")
            raise

    def notice(self, name: str, *, removed: bool) -> None:
        """An event of the kernel."""
        if not self.is_dead and (found := self.side.notice(name, removed)):
            self.schedule.wake(found)


class Host:
    """One host and all that it counts. `build` makes a role and hands its mounted share along."""

    def __init__(
        self,
        build: Callable[[AgentLife], tuple[Side, SharedFolder]],
        lose_power: Callable[[], None],
        dice: random.Random,
        poll: float,
        restart: float,
    ) -> None:
        self.build = build
        self.lose_power = lose_power
        self.poll = poll
        self._restart = restart
        self.life: AgentLife | None = None
        self.looks = 0
        self.deaths = 0
        self.defects: list[str] = []
        """Errors that no role should ever let out."""
        self.failed: Callable[[str], None] = lambda name: None
        """Told of each look that ended in an error of a folder."""
        self.died: Callable[[], None] = lambda: None
        self._dice = dice

    async def run(self) -> None:
        """Life after life, until cancelled."""
        while True:
            self.life = AgentLife(self)
            await self.life.live()
            await asyncio.sleep(0.1 + self._dice.random() ** 2 * self._restart)

    def end(self) -> None:
        """End this life."""
        if self.life is not None:
            self.life.die(power=False)

    def notice(self, name: str, *, removed: bool) -> None:
        """An event in the share on this host's disk; nobody hears it while the agent is dead."""
        if self.life is not None:
            self.life.notice(name, removed=removed)
