"""Puts an agent together from its settings: which adapter goes where."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from roundtrip import __version__
from roundtrip.agent.agent import Agent, AgentPlaces, AgentSettings
from roundtrip.agent.outbox import Outbox
from roundtrip.agent.shares import RemoteSettings, SharePair
from roundtrip.agent.wishes import WishWatch
from roundtrip.config import Settings
from roundtrip.config.settings import KeptFolder
from roundtrip.deliveries import outbound
from roundtrip.places import Places
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.protocol.names import INTERNAL_FOLDER, Namer
from roundtrip.protocol.states import Role
from roundtrip.roles.admission import Admission, InFlight
from roundtrip.roles.canary import Canary
from roundtrip.roles.cleaning import Cleaner, Shelf, requester_shelves
from roundtrip.roles.enrichment import Answer, Enrich, sums
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.health import Health, read_health
from roundtrip.roles.intake import Intake, OutboxSettings
from roundtrip.roles.outgoing import Outgoing
from roundtrip.roles.peer import PeerWatch
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.roles.retention import Bounds
from roundtrip.roles.room import Room
from roundtrip.roles.rooms import Rooms
from roundtrip.roles.settings import RequesterSettings, ResponderSettings
from roundtrip.roles.space import Disk
from roundtrip.roles.ticket import Ticket
from roundtrip.roles.wishes import Wishes
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import WatchSettings

if TYPE_CHECKING:
    from prometheus_client import Metric

    from roundtrip.enrich import Enricher
    from roundtrip.enrich.limits import Figures as HostFigures
    from roundtrip.enrich.results import Progress


def build_agent(settings: Settings) -> Agent:
    """An agent ready to `run`, inside a running event loop.

    Raises:
        ShareError: a folder or share is missing or unusable.
    """
    places = Places(settings)
    places.check()
    opened = Opened(durable=settings.durability == "full")
    pins, state = opened.folder(places.pins, durable=False), opened.folder(places.state)
    shares = _shares(settings, places, pins)
    health = Health()
    agent = Agent(
        shares,
        AgentPlaces(pins, state, places.health.name, [AgentLock(places.lock), shares.lock()]),
        WatchSettings(settings.watch_backend, settings.watch_interval),
        health,
        AgentSettings(
            version=__version__,
            heartbeat=settings.timing.heartbeat,
            rescan=settings.timing.rescan,
            stop_timeout=settings.timing.stop_timeout,
            exchanges=settings.limits.exchanges,
        ),
    )
    agent.peer = PeerWatch(
        lambda: closing(PosixFolder(places.home / INTERNAL_FOLDER)),
        places.role,
        health,
        version=__version__,
        heartbeat=settings.timing.heartbeat,
    )
    if places.role is Role.REQUESTER:
        _employ_requester(agent, settings, places, shares, opened)
        hosts = None
    else:
        hosts = _employ_responder(agent, settings, places, shares, opened).hosts
    agent.on_end(opened.close)
    if settings.look is not None:
        from roundtrip.doorbell import Doorbell

        agent.export(Doorbell(*settings.look, agent.look))
    if settings.metrics_listen is not None:
        _export(agent, settings.metrics_listen, places, hosts)
    return agent


class Opened:
    """The folders that one agent has open: another agent may follow it in the same process."""

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self._folders: list[PosixFolder] = []

    def folder(self, path: Path, *, durable: bool | None = None) -> PosixFolder:
        """Open a folder until `close`."""
        found = PosixFolder(path, durable=self.durable if durable is None else durable)
        self._folders.append(found)
        return found

    def own(self, path: Path) -> PosixFolder:
        """Open a folder that is synced only where that is asked for."""
        return self.folder(path, durable=False)

    def add(self, *folders: Folder | None) -> None:
        """Close these, too."""
        self._folders += [folder for folder in folders if isinstance(folder, PosixFolder)]

    def close(self) -> None:
        """Give all descriptors back."""
        for folder in self._folders:
            folder.close()


def _shares(settings: Settings, places: Places, pins: PosixFolder) -> SharePair:
    asks = places.role is Role.REQUESTER
    access = settings.shares.unenriched_access if asks else settings.shares.enriched_access
    return SharePair(
        places.role,
        places.unenriched,
        places.enriched,
        pins,
        durable=settings.durability == "full",
        remote=RemoteSettings(access, settings.timing.share_timeout),
    )


def _export(
    agent: Agent, listen: str, places: Places, hosts: Callable[[], list[HostFigures]] | None
) -> None:
    from roundtrip.exporter import Exporter  # Nobody else pays for a web server.
    from roundtrip.metrics import agent_metrics, host_metrics

    def source(peer_age: float | None) -> Iterator[Metric]:
        yield from agent_metrics(agent.figures(), __version__, peer_age)
        if hosts is not None:
            yield from host_metrics(hosts(), time.time())

    peer = Role.RESPONDER if places.role is Role.REQUESTER else Role.REQUESTER
    agent.export(Exporter(listen, source, places.home / INTERNAL_FOLDER, peer.value))


def _whoami() -> tuple[tuple[str, str], ...]:
    return (("host", socket.gethostname()), ("version", __version__))


def _employ_requester(
    agent: Agent, settings: Settings, places: Places, shares: SharePair, opened: Opened
) -> None:
    desk = places.desk(durable=opened.durable)
    beyond = outbound(settings, places, opened.own, agent.health)
    opened.add(*(getattr(desk, field.name) for field in fields(desk)))
    admission = _admission(agent, settings, shares, desk.pending)
    places.cancels.mkdir(mode=0o700, exist_ok=True)
    cancels = Wishes(opened.folder(places.cancels))
    requester = Requester(
        shares.remote,
        shares.local,
        desk,
        RequesterSettings(
            settle=settings.timing.settle,
            grace=settings.timing.grace,
            attempts=settings.limits.attempts,
            sender=_whoami(),
            deadline=settings.timing.deadline,
        ),
        health=agent.health,
        canary=_canary(agent, settings, desk.pending),
        cleaner=Cleaner(
            requester_shelves(desk, _bounds(settings.archive), _bounds(settings.failed)),
            stamp := _stamp(places, opened),
            parts=[stamp[0], *beyond.folders],
        ),
        admission=admission,
        outgoing=Outgoing(beyond.lanes),
        cancels=cancels,
    )
    how = settings.outbox
    intake = Intake(desk, OutboxSettings(how.complete, how.settle, how.ignore), Namer())

    async def adopt(exchange: str, ticket: Ticket | None) -> None:
        requester.adopt(exchange, ticket)
        await agent.look_now(exchange)

    outbox = Outbox(
        PosixFolder(places.outbox),
        PosixFolder(places.submit),
        desk,
        intake,
        adopt,
        admission.entrance,
    )
    agent.on_end(outbox.close)

    async def heed_cancels() -> None:
        for name in await cancels.names():
            agent.wake(name)

    watches = [WishWatch(places.cancels, heed_cancels)]
    deliveries = beyond.deliveries
    if beyond.lanes:
        watches.append(WishWatch(places.deliveries, deliveries.heed_wishes))

    async def begin() -> None:
        await deliveries.start()
        for watch in watches:
            watch.start()

    async def close() -> None:
        for watch in watches:
            watch.close()
        await deliveries.stop()

    agent.employ(requester, outbox, begin, close, deliveries)


def _admission(agent: Agent, settings: Settings, shares: SharePair, pending: Folder) -> Admission:
    limits = settings.limits
    away = Disk("unenriched", "exchanges in state/pending")
    home = Disk("state", "files in the outbox, answers in Enriched")
    room = Room(home, pending, limits.reserve, agent.health, agent.wake)
    return Admission(
        InFlight(limits.in_flight_exchanges, limits.in_flight_bytes),
        away=Room(away, shares.remote, limits.reserve, agent.health, agent.wake),
        home=room,
        entrance=Entrance(limits.pending, room, agent.health),
        health=agent.health,
        wake=agent.wake,
    )


def _rooms(agent: Agent, settings: Settings, shares: SharePair, kept: Folder) -> Rooms:
    reserve = settings.limits.reserve
    away = Disk("enriched", "answers in state/kept, requests in Unenriched")
    home = Disk("state", "requests in Unenriched")
    return Rooms(
        away=Room(away, shares.remote, reserve, agent.health, agent.wake),
        home=Room(home, kept, reserve, agent.health, agent.wake),
    )


def _canary(agent: Agent, settings: Settings, pending: Folder) -> Canary | None:
    if settings.canary is None:
        return None
    peer = agent.peer.spoken if agent.peer is not None else lambda: None
    canary = Canary(pending, settings.canary, agent.health, wake=agent.wake, peer=peer)
    before = read_health(Places(settings).health).get("canary")
    canary.recall(before if isinstance(before, dict) else {})
    return canary


@dataclass(frozen=True, slots=True)
class _Engine:
    """What enriches for the responder: the agent itself, or workers."""

    enrich: Enrich
    open: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    hosts: Callable[[], list[HostFigures]] | None = None
    details: Callable[[], dict[str, Any]] = dict


def _engine(settings: Settings, places: Places, health: Health) -> _Engine:
    if settings.queue is not None:
        from roundtrip.dispatching import build_desk

        desk = build_desk(settings, health)
        return _Engine(desk, desk.open, desk.aclose, details=desk.details)
    from roundtrip.enrich import Enricher  # Only role b pays for an HTTP client.
    from roundtrip.enrich.store.sqlite import SqliteStore

    store = SqliteStore(places.ledger, max_bytes=settings.cache_size)
    enricher = Enricher(settings.pipelines, hosts=settings.hosts, store=store)

    async def begin() -> None:
        await enricher.open()
        store.watch_wishes(places.wishes)

    return _Engine(_Enrichment(enricher), begin, enricher.aclose, enricher.figures)


def _employ_responder(
    agent: Agent, settings: Settings, places: Places, shares: SharePair, opened: Opened
) -> _Engine:
    engine = _engine(settings, places, agent.health)
    reports = opened.folder(places.quarantine, durable=False)
    places.retries.mkdir(mode=0o700, exist_ok=True)
    retries = opened.folder(places.retries)

    async def begin() -> None:
        await engine.open()
        wishes.start()

    async def close() -> None:
        wishes.close()
        await engine.close()

    kept = opened.folder(places.kept)
    responder = Responder(
        shares.local,
        shares.remote,
        kept,
        reports,
        engine.enrich,
        ResponderSettings(
            settle=settings.timing.settle,
            grace=settings.timing.grace,
            exchanges=settings.limits.exchanges,
            answers=settings.limits.answers,
            payload=settings.limits.payload,
            refuse_empty_marker=settings.shares.empty_marker == "refuse",
            responder=_whoami(),
        ),
        wake=agent.wake,
        retries=retries,
        rooms=_rooms(agent, settings, shares, kept),
        cleaner=Cleaner(
            [Shelf("quarantine", reports, _bounds(settings.quarantine))],
            stamp := _stamp(places, opened),
            parts=[stamp[0], retries],
        ),
        details=engine.details,
    )
    wishes = WishWatch(places.retries, responder.heed_wishes)
    agent.employ(responder, begin=begin, close=close)
    return engine


def _bounds(kept: KeptFolder | None) -> Bounds:
    return Bounds() if kept is None else Bounds(kept.keep, kept.size)


def _stamp(places: Places, opened: Opened) -> tuple[Folder, str]:
    """The file whose age says when this host was cleaned last."""
    return opened.folder(places.state), f"cleaned-{places.role.value}"


class _Enrichment:
    """The responder's port to enrichment, served by the configured pipelines."""

    def __init__(self, enricher: Enricher) -> None:
        self._enricher = enricher
        self.forget = enricher.forget
        self.open_scopes = enricher.open_scopes

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        pipeline = self._enricher.choose(request.original_name, request.pipeline)
        result = await self._enricher.run(
            pipeline,
            request.original_name,
            source,
            sink,
            exchange=request.exchange,
            cancelled=cancelled,
            report=report,
        )
        return Answer(Outcome(result.outcome), sums(result.stats), pipeline.name)
