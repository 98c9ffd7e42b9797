"""The two disks that B writes to."""

from __future__ import annotations

from collections.abc import Callable

from roundtrip.roles.health import Health
from roundtrip.roles.room import Room
from roundtrip.roles.space import Disk
from roundtrip.shares.port import SharedFolder


class Rooms:
    """What B needs: room on the `away` disk, where A finds the answers, and on its own, `home`."""

    def __init__(self, *, away: Room, home: Room) -> None:
        self.away = away
        self.home = home

    @classmethod
    def unlimited(cls, *, away: SharedFolder, home: SharedFolder) -> Rooms:
        """No reserve: what doesn't fit still waits."""
        health = Health()
        return cls(
            away=Room(Disk("enriched", ""), away, 0, health),
            home=Room(Disk("state", ""), home, 0, health),
        )

    def on_room(self, call: Callable[[], None]) -> None:
        """Call back whenever there may be room for something new."""
        self.away.on_room = self.home.on_room = call

    @property
    def are_short(self) -> bool:
        """Whether there is no room for anything new."""
        return self.away.is_short or self.home.is_short

    def hold(self, name: str) -> bool:
        """Whether `name` waits for room."""
        return self.away.holds(name) or self.home.holds(name)

    def conditions(self) -> list[str]:
        """The keys of what is told of the two."""
        return [each.condition for each in (self.away, self.home) if each.condition]

    async def check(self) -> None:
        """See `Room.check`."""
        await self.home.check()
        await self.away.check()

    def leave(self, name: str) -> None:
        """`name` waits no more."""
        self.away.leave(name)
        self.home.leave(name)

    def stop(self) -> None:
        """Look no more."""
        self.away.stop()
        self.home.stop()
