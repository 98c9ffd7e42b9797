"""Both roles on a disk in memory, driven step by step: a test decides who moves and who dies."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any, BinaryIO

from roundtrip.enrich.results import Progress
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.protocol.names import created_of, marker_of
from roundtrip.protocol.versions import Spoken
from roundtrip.roles import ticket as tickets
from roundtrip.roles.canary import Canary
from roundtrip.roles.cleaning import Cleaner, requester_shelves
from roundtrip.roles.desk import Desk
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.health import Health
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.roles.retention import Bounds
from roundtrip.roles.settings import RequesterSettings, ResponderSettings
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.memory import MemoryDisk, MemoryFolder

EXCHANGE = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"
ORIGINAL = b"id,country\n1,DE\n"
ENRICHED = ORIGINAL.upper()
A_FOLDERS = ("submit", "pending", "collected", "closing", "tickets", "outcomes", "inbox", "failed",
             "archive")  # fmt: skip


class Crash(BaseException):
    """The role's process is gone; whatever it held in memory is lost."""


class Clock:
    """Time that passes only when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """A disk, the two roles on it, and a count of what was enriched."""

    def __init__(
        self,
        *,
        attempts: int = 5,
        answers: int = 10,
        exchanges: int = 64,
        archive_keep: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self.disk = MemoryDisk()
        self.clock = Clock()
        self.health = Health()
        self.set_by = 0.0  # seconds by which somebody has set A's time of day
        self.peer: Spoken | None = None  # what B's life sign says
        self.canary: float | None = None  # seconds; None: A sends none
        self.enriched: Counter[str] = Counter()
        self.paid: set[str] = set()  # what B's ledger holds
        self.enrich: Callable[[bytes], Answer | None] = lambda content: None
        self._asking = RequesterSettings(attempts=attempts, deadline=deadline)
        self._archive_keep = archive_keep
        self._answering = ResponderSettings(answers=answers, exchanges=exchanges)
        self.wake: Callable[[str], object] = lambda exchange: None
        self.report: Callable[[Progress], None] = lambda progress: None
        self.cancelled: Callable[[], bool] = lambda: False
        for label in ("unenriched", "enriched", "b/kept", "b/quarantine", "b/retry"):
            self.disk.folder(label)
        for label in A_FOLDERS:
            self.disk.folder(f"a/{label}")
        self.roles: dict[str, Requester | Responder] = {}

    def files(self, label: str) -> dict[str, bytes]:
        return self.disk.files[label]

    def want(self, exchange: str = EXCHANGE, content: bytes = ORIGINAL, **ticket: Any) -> None:
        """Put an original where intake would have put it."""
        self.files("a/pending")[exchange] = content
        if ticket:
            file = tickets.file_of(exchange)
            self.files("a/tickets")[file] = Ticket(**ticket).encode()

    def start(self, role: str) -> None:
        """A new life of a role: everything it knows is what is on the disk."""
        self.roles[role] = self._requester() if role == "a" else self._responder()

    def _requester(self) -> Requester:
        folders = {label: self.disk.folder(f"a/{label}") for label in A_FOLDERS}
        desk = Desk(**folders)
        return Requester(
            self.disk.folder("unenriched"),
            self.disk.folder("enriched"),
            desk,
            self._asking,
            clock=self.clock,
            now=self.now,
            health=self.health,
            canary=self._canary(folders["pending"]),
            cleaner=Cleaner(requester_shelves(desk, Bounds(keep=self._archive_keep), Bounds())),
        )

    def now(self) -> float:
        """The time of day, which passes with the clock; A's exchange was made when it began."""
        created = created_of(EXCHANGE)
        assert created is not None
        return created + self.clock() - Clock.now + self.set_by

    def _canary(self, pending: MemoryFolder) -> Canary | None:
        if self.canary is None:
            return None
        return Canary(
            pending, self.canary, self.health, self._wake,
            lambda: self.peer, clock=self.clock,
        )  # fmt: skip

    def _responder(self) -> Responder:
        return Responder(
            self.disk.folder("unenriched"),
            self.disk.folder("enriched"),
            self.disk.folder("b/kept"),
            self.disk.folder("b/quarantine"),
            Enrichment(self),
            self._answering,
            wake=self._wake,
            retries=self.disk.folder("b/retry"),
            clock=self.clock,
        )

    def _wake(self, exchange: str) -> None:
        self.wake(exchange)

    def check_always(self) -> None:
        """What must hold at every instant, whoever reads the folders now."""
        for share, content in (("unenriched", ORIGINAL), ("enriched", ENRICHED)):
            files = self.files(share)
            if marker_of(EXCHANGE) in files:
                assert files.get(EXCHANGE) == content, f"a marker without its payload in {share}"
        homes = [
            self.files(f"a/{label}").get(EXCHANGE) for label in ("pending", "closing", "archive")
        ]
        assert homes.count(ORIGINAL) == 1, "the original is lost or doubled"
        assert len(self.files("a/inbox")) <= 1, "delivered twice"

    def check_end(self) -> None:
        """What both sides converge to."""
        self.check_always()
        assert self.files("a/inbox") == {"orders.csv": ENRICHED}
        assert self.files("a/archive") == {EXCHANGE: ORIGINAL}
        assert self.left() == {}

    def left(self) -> dict[str, list[str]]:
        """Everything that should have gone by the end, by folder; in-flight names don't count."""
        labels = ("unenriched", "enriched", "b/kept", "b/quarantine")
        desk = (f"a/{label}" for label in ("pending", "collected", "closing", "tickets"))
        found = {
            label: [name for name in self.files(label) if not name.startswith(".")]
            for label in (*labels, *desk)
        }
        if self.paid:
            found["ledger"] = sorted(self.paid)
        return {label: names for label, names in found.items() if names}


class Enrichment:
    """What stands for the engine: it makes everything upper case, and its ledger is the world's."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        world = self.world
        world.report = report
        world.cancelled = cancelled
        await world.disk.guard("look", "call b/api")  # The API takes its time.
        content = source.read()
        world.enriched[request.exchange] += 1
        world.paid.add(request.exchange)
        sink.write(content.upper())
        return world.enrich(content) or Answer(Outcome.ENRICHED, {}, "upper")

    def forget(self, exchange: str) -> None:
        self.world.paid.discard(exchange)

    def open_scopes(self) -> set[str]:
        return set(self.world.paid)


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Give the driver the choice of who moves next."""
    yield


class Life:
    """One role's life: looks at the exchange again and again, one operation at a time."""

    def __init__(self, world: World, role: str) -> None:
        self.world = world
        self.role = role
        self.awake = True
        self._coroutine: Coroutine[None, None, None] | None = None
        self._started = False
        world.start(role)

    async def _look(self) -> None:
        role = self.world.roles[self.role]
        if not self._started:
            self._started = True
            await role.start()
        again = await role.look(EXCHANGE)
        if again is not None:
            self.world.clock.now += again
            self.awake = True

    def step(self) -> None:
        """Go on until the next operation, or until the look is over."""
        if self._coroutine is None:
            self.awake = False
            self._coroutine = self._look()
        try:
            self._coroutine.send(None)
        except StopIteration:
            self._coroutine = None

    @property
    def can_move(self) -> bool:
        return self.awake or self._coroutine is not None

    def die(self) -> None:
        """SIGKILL, and a new life."""
        if self._coroutine is not None:
            self._coroutine.close()
        self._coroutine = None
        self._started = False
        self.awake = True
        self.world.start(self.role)


def owner_of(operation: str) -> str:
    """Which role an operation belongs to: each name has one writer."""
    place = operation.split()[1]
    return "a" if place.startswith(("a/", "unenriched/")) else "b"
