"""Two hosts: their mounts and agents, the way events take, and the trace of it all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace

from roundtrip.protocol.names import MARKER_SUFFIX
from roundtrip.roles import ticket as tickets
from roundtrip.roles.requester import Requester
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import SharedFolder
from roundtrip.testing.enrichment import Ledger
from roundtrip.testing.events import Events
from roundtrip.testing.faults import Faults
from roundtrip.testing.folder import FaultyFolder, Life
from roundtrip.testing.host import AgentLife, Host, Side
from roundtrip.testing.receiver import Receiver
from roundtrip.testing.shell import Shell
from roundtrip.testing.staff import TERMS, Terms, requester, responder
from roundtrip.testing.storage import HOME, SHARES, Storage
from roundtrip.testing.trace import Trace
from roundtrip.testing.view import View
from roundtrip.testing.weather import Access, Weather
from roundtrip.testing.wishes import Wish


class World:
    """Everything that a simulation needs but its plot. `on_change` is told where a change was."""

    def __init__(
        self,
        dice: random.Random,
        faults: Faults,
        storage: Storage,
        terms: Terms = TERMS,
        restart: float = 20.0,
        *,
        delivers: bool = False,
    ) -> None:
        """`restart` is how many seconds at most a role that died stays dead.

        With `delivers`, A has a delivery.
        """
        self.dice = dice
        self.storage = storage
        self._terms = terms
        self._restart = restart
        self.loop = asyncio.get_running_loop()
        self.ledger = Ledger()
        self.trace_log = Trace(self.loop.time)
        self.on_change: Callable[[str, str], None] = lambda label, name: None
        self._faults = faults
        clock = self.loop.time
        self.receiver = Receiver(dice, storage.files, clock) if delivers else None
        self.weathers = {role: Weather(faults, dice, clock) for role in "ab"}
        # Nobody would go on in a killed script's place.
        self.weathers["shell"] = Weather(replace(faults, kill=0.0), dice, clock)
        self._views: dict[tuple[str, str], View] = {}
        self.hosts = {role: self._host(role) for role in "ab"}
        self._events = {role: Events(self.weathers[role], self._notice(role)) for role in "ab"}
        self._tasks: set[asyncio.Task[None]] = set()

    def _host(self, role: str) -> Host:
        host = Host(
            self._employ(role),
            lambda: self._cut_power(role),
            self.dice,
            self._faults.poll,
            self._restart,
        )
        if role == "b":
            host.failed = lambda name: self.ledger.excuse("a folder failed", name)
            host.died = lambda: self.ledger.excuse("B died")
        return host

    def _employ(self, role: str) -> Callable[[AgentLife], tuple[Side, SharedFolder]]:
        def employ(life: AgentLife) -> tuple[Side, SharedFolder]:
            def reach(label: str) -> FaultyFolder:
                return self.folder(role, label, life)

            if role == "a":
                outgoing = self.receiver.employ(reach, life) if self.receiver else None
                side_a = requester(reach, life, self.loop.time, self._terms, outgoing)
                return side_a, reach("unenriched")
            side = responder(reach, life, self.loop.time, self._terms, self.ledger, self.dice)
            return side, reach("enriched")

        return employ

    def _notice(self, role: str) -> Callable[[str, bool], None]:
        def notice(name: str, removed: bool) -> None:
            if role == "b" and removed and self.storage.has("unenriched", name):
                self.ledger.doubt("an event was late", name.removesuffix(MARKER_SUFFIX))
            self.hosts[role].notice(name, removed=removed)

        return notice

    def _cut_power(self, role: str) -> None:
        self.trace_log.add("-", "power cut", f"host {role}")
        self.storage.cut_power(role, self.weathers[role])
        for key in [key for key in self._views if key[0] == role]:
            del self._views[key]  # Its kernel has forgotten what it believed.

    def begin(self, coroutine: Coroutine[None, None, None]) -> None:
        """Let something run beside everything else."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Let nothing go on."""
        for host in self.hosts.values():
            host.end()
        for task in self._tasks:
            task.cancel()

    def folder(self, role: str, label: str, life: Life) -> FaultyFolder:
        """A folder as a life on one of the hosts reaches it."""
        home = HOME[label]
        access = Access.PRIVATE
        if label in SHARES:
            access = Access.HOME if home == role else Access.MOUNT
        view = self._views.get((role, label))
        if view is None:
            lags = access is Access.MOUNT or (access is Access.HOME and self._faults.both_mounted)
            view = View(self._faults.lag if lags else 0.0, self.dice, self.loop.time)
            self._views[role, label] = view
        return FaultyFolder(
            self.storage.folder(role, label),
            access,
            self.weathers["shell" if isinstance(life, Shell) else role],
            life,
            self,
            view=view,
            disk=self.weathers[home],
            label=label,
        )

    def hand_in(self, wish: Wish) -> None:
        """An application on A hands an original in, as intake does."""
        ticket = Ticket(wish.name, wish.pipeline)
        if ticket != tickets.implied(wish.exchange):
            self.storage.write("a/tickets", tickets.file_of(wish.exchange), ticket.encode())
        self.storage.write("a/pending", wish.exchange, wish.content)
        self.trace_log.add("-", "handed in", wish.exchange)
        life = self.hosts["a"].life
        if life is not None and not life.is_dead and isinstance(life.side, Requester):
            life.side.adopt(wish.exchange, ticket)
            life.schedule.wake(wish.exchange)

    def take_back(self, wish: Wish) -> bool:
        """Somebody takes a pending original away; False if it isn't pending any more."""
        was_pending = self.storage.take("a/pending", wish.exchange)
        if was_pending:
            self.trace_log.add("-", "taken back", wish.exchange)
        return was_pending

    # What the folders tell: see folder.Watcher.

    def trace(self, life: Life, verb: str, place: str, fate: str) -> None:
        name = place.rpartition("/")[2].removesuffix(MARKER_SUFFIX)
        if fate == "disk full":
            self.ledger.excuse("a disk was full", name)
        elif fate and place.startswith("b/kept/"):
            # Its look may end as if there were no room.
            self.ledger.excuse("a folder failed", name)
        who = "sh" if not isinstance(life, AgentLife) else "a"
        self.trace_log.add("b" if getattr(life, "host", None) is self.hosts["b"] else who,
                           verb, place, fate)  # fmt: skip

    async def changed(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        home = HOME[label]
        self.storage.note(label, verb, name, durable=durable)
        if label in SHARES:
            removed = verb == "remove"
            self._events[home].tell(name, removed=removed)
            if label == "unenriched" and removed and name.endswith(MARKER_SUFFIX):
                self.ledger.excuse("asked for again", name.removesuffix(MARKER_SUFFIX))
        self.on_change(label, name)

    def moved(self, label: str, name: str, to: str, new_name: str) -> None:
        self.storage.note_move(label, name, to, new_name)

    def later(self, seconds: float, act: Callable[[], Coroutine[None, None, None]]) -> None:
        self.loop.call_later(seconds, lambda: self.begin(act()))
