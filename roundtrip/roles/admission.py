"""Back-pressure on A: everything that an exchange must pass before it is published.

    outbox/ --Entrance: limits.pending, A's disk--> pending/ --Window: limits.in_flight_*--> shares

Who waits costs nothing: it is looked at once more when there is a place for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from roundtrip.protocol.names import is_canary
from roundtrip.protocol.states import Names
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.line import Parked
from roundtrip.roles.room import Room
from roundtrip.roles.space import Disk, in_words
from roundtrip.roles.telling import Telling
from roundtrip.roles.window import Window
from roundtrip.shares.port import Folder, SharedFolder


@dataclass(frozen=True, slots=True)
class InFlight:
    """How much may be published and not yet collected."""

    exchanges: int = 10_000
    size: int = 10 * 1024**3


class Admission:
    """The window, the room on both disks, and the entrance of new files, as one."""

    def __init__(
        self,
        limits: InFlight,
        *,
        away: Room,
        home: Room,
        entrance: Entrance,
        health: Health,
        wake: Callable[[str], None],
    ) -> None:
        self.away = away
        self.home = home
        self.entrance = entrance
        self.window = Window(limits.exchanges, limits.size)
        self._limits = limits
        self._telling = Telling(health, "in_flight", Severity.NOTICE, self._text)
        self._wake = wake

    @classmethod
    def unlimited(cls, away: SharedFolder, home: Folder) -> Admission:
        """Whatever comes is published, as long as there is room for it."""
        health = Health()
        room = Room(Disk("state", ""), home, 0, health)
        return cls(
            InFlight(2**63, 2**63),
            away=Room(Disk("unenriched", ""), away, 0, health),
            home=room,
            entrance=Entrance(None, room, health),
            health=health,
            wake=lambda exchange: None,
        )

    async def start(self, pending: Folder) -> None:
        """Count what an earlier life has taken in."""
        await self.entrance.start(pending)

    async def recount(
        self, found: Mapping[str, Names], pending: set[str], folder: Folder
    ) -> set[str]:
        """See from a listing of the shares what is in flight; returns those that wait.

        Raises:
            OSError: A's disk can't be asked.
        """
        window = self.window
        for name in window.in_flight.keys() - pending:
            window.leave(name)
        for name in found.keys() & pending - window.in_flight.keys():
            entry = await folder.stat(name) if found[name].request_marker else None
            if entry is not None and not is_canary(name):
                window.resume(name, entry.size)
        absent = {name for name in pending - found.keys() if not is_canary(name)}
        window.line_up(sorted(absent))
        await self.home.check()
        await self.away.check()
        self.call()
        return {name for name in absent if window.waits(name) or self.away.holds(name)}

    @asynccontextmanager
    async def publication(self, exchange: str, pending: Folder) -> AsyncIterator[None]:
        """The publishing of an exchange, in the body of a `with`.

        Raises:
            Parked: it has to wait; it is woken later.
            FileNotFoundError: its original has gone.
        """
        size = await self._enter(exchange, pending)
        try:
            async with self.away.claim(exchange, size):
                yield
        except Parked:
            # A large one lets smaller ones have its place; where nothing fits, that is no use.
            if not self.away.is_short:
                self.window.leave(exchange)
            raise

    async def _enter(self, exchange: str, pending: Folder) -> int:
        """Take a place in flight; returns the size of the original in bytes.

        Raises:
            Parked: others come first, or it is too large for now; it is woken later.
            FileNotFoundError: its original has gone.
        """
        counts = not is_canary(exchange)
        if counts and not self.window.may_ask(exchange):
            self.tell()
            raise Parked
        entry = await pending.stat(exchange)
        if entry is None:
            raise FileNotFoundError(exchange)
        if counts and not self.window.enter(exchange, entry.size):
            self.call()
            raise Parked
        return entry.size

    def looked(self, exchange: str, *, wanted: bool) -> None:
        """The look at an exchange is over."""
        if wanted:
            self.window.release(exchange)
        else:
            self.window.leave(exchange)
            self.away.leave(exchange)
            self.home.leave(exchange)
            self.entrance.answered(exchange)
        self.call()

    def stuck(self, exchange: str, error: OSError) -> None:
        """Our own disk is too full for what is left to do after an answer: tell, and wake it."""
        # Under another name than its own, which nothing waits under once it is answered.
        self.home.refused(f"{exchange}~", error, wake=lambda name: self._wake(exchange))

    def call(self) -> None:
        """Wake those whose turn it is now."""
        if self.window.waiting:
            for name in self.window.call():
                self._wake(name)
        self.tell()

    def tell(self) -> None:
        """Say that exchanges wait, or that none do."""
        self._telling.update(holds=bool(self.window.waiting))

    def _text(self) -> str:
        window, limits = self.window, self._limits
        return (
            f"{window.waiting} exchanges wait in state/pending: {len(window.in_flight)} with "
            f"{in_words(window.bytes)} are published and not answered yet, and "
            f"limits.in_flight_exchanges is {limits.exchanges}, limits.in_flight_bytes "
            f"{in_words(limits.size)}; each answer lets the next ones go"
        )

    def stop(self) -> None:
        """Look at no disk any more."""
        for each in (self.away, self.home, self.entrance, self._telling):
            each.stop()
