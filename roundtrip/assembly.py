"""Puts an agent together from its settings: which adapter goes where."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from roundtrip import __version__
from roundtrip.agent.agent import Agent, AgentSettings
from roundtrip.agent.outbox import Outbox
from roundtrip.agent.shares import RemoteSettings, SharePair
from roundtrip.config import Settings
from roundtrip.places import Places
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.protocol.names import INTERNAL_FOLDER, Namer
from roundtrip.protocol.states import Role
from roundtrip.roles.enrichment import Answer, sums
from roundtrip.roles.intake import Intake, OutboxSettings
from roundtrip.roles.requester import Requester, RequesterSettings
from roundtrip.roles.responder import Responder, ResponderSettings
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.lock import AgentLock
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
    durable = settings.durability == "full"
    pins = PosixFolder(places.pins)
    shares = _shares(settings, places, pins)
    agent = Agent(
        shares,
        pins,
        [AgentLock(places.lock), shares.lock()],
        WatchSettings(settings.watch_backend, settings.watch_interval),
        AgentSettings(
            version=__version__,
            heartbeat=settings.timing.heartbeat,
            rescan=settings.timing.rescan,
            stop_timeout=settings.timing.stop_timeout,
            exchanges=settings.limits.exchanges,
        ),
    )
    if places.role is Role.REQUESTER:
        _employ_requester(agent, settings, places, shares, durable=durable)
        hosts = None
    else:
        hosts = _employ_responder(agent, settings, places, shares, durable=durable).figures
    if settings.metrics_listen is not None:
        _export(agent, settings.metrics_listen, places, hosts)
    return agent


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
    agent: Agent, settings: Settings, places: Places, shares: SharePair, *, durable: bool
) -> None:
    desk = places.desk(durable=durable)
    requester = Requester(
        shares.remote,
        shares.local,
        desk,
        RequesterSettings(
            settle=settings.timing.settle,
            grace=settings.timing.grace,
            attempts=settings.limits.attempts,
            sender=_whoami(),
            archive_keep=settings.archive.keep if settings.archive else None,
        ),
    )
    how = settings.outbox
    intake = Intake(desk, OutboxSettings(how.complete, how.settle, how.ignore), Namer())

    async def adopt(exchange: str, ticket: Ticket | None) -> None:
        requester.adopt(exchange, ticket)
        await agent.look_now(exchange)

    outbox = Outbox(PosixFolder(places.outbox), PosixFolder(places.submit), desk, intake, adopt)
    agent.employ(requester, outbox)


def _employ_responder(
    agent: Agent, settings: Settings, places: Places, shares: SharePair, *, durable: bool
) -> Enricher:
    from roundtrip.enrich import Enricher  # Only role b pays for an HTTP client.
    from roundtrip.enrich.store.sqlite import SqliteStore

    store = SqliteStore(places.ledger, max_bytes=settings.cache_size)
    enricher = Enricher(settings.pipelines, hosts=settings.hosts, store=store)

    async def begin() -> None:
        await enricher.open()
        store.watch_wishes(places.wishes)

    responder = Responder(
        shares.local,
        shares.remote,
        PosixFolder(places.kept, durable=durable),
        PosixFolder(places.quarantine),
        _Enrichment(enricher),
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
    )
    agent.employ(responder, begin=begin, close=enricher.aclose)
    return enricher


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
