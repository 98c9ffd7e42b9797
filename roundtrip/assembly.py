"""Puts an agent together from its settings: which adapter goes where."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from roundtrip import __version__
from roundtrip.agent.agent import Agent, AgentSettings
from roundtrip.agent.outbox import Outbox
from roundtrip.agent.shares import SharePair
from roundtrip.config import Settings
from roundtrip.places import Places
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.protocol.names import Namer
from roundtrip.protocol.states import Role
from roundtrip.roles.intake import Intake, OutboxSettings
from roundtrip.roles.requester import Requester, RequesterSettings
from roundtrip.roles.responder import Answer, Enrich, Responder, ResponderSettings
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import WatchSettings

if TYPE_CHECKING:
    from roundtrip.enrich import Enricher


def build_agent(settings: Settings) -> Agent:
    """An agent ready to `run`, inside a running event loop.

    Raises:
        ShareError: a folder or share is missing or unusable.
    """
    places = Places(settings)
    places.check()
    durable = settings.durability == "full"
    shares = SharePair(places.role, places.unenriched, places.enriched, durable=durable)
    pins = PosixFolder(places.pins)
    agent = Agent(
        shares,
        pins,
        [AgentLock(places.lock), shares.lock()],
        WatchSettings(settings.watch_backend, settings.watch_interval),
        AgentSettings(
            version=__version__,
            heartbeat=settings.timing.heartbeat,
            rescan=settings.timing.rescan,
            exchanges=settings.limits.exchanges,
        ),
    )
    if places.role is Role.REQUESTER:
        _employ_requester(agent, settings, places, shares, durable=durable)
    else:
        _employ_responder(agent, settings, places, shares, durable=durable)
    return agent


def _whoami() -> tuple[tuple[str, str], ...]:
    return (("host", socket.gethostname()), ("version", __version__))


def _employ_requester(
    agent: Agent, settings: Settings, places: Places, shares: SharePair, *, durable: bool
) -> None:
    desk = places.desk(durable=durable)
    requester = Requester(
        shares.unenriched,
        shares.enriched,
        desk,
        RequesterSettings(
            settle=settings.timing.settle,
            grace=settings.timing.grace,
            attempts=settings.limits.attempts,
            sender=_whoami(),
            archive_keep=settings.archive_keep,
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
) -> None:
    from roundtrip.enrich import Enricher  # Only role b pays for an HTTP client.

    enricher = Enricher(settings.pipelines)
    responder = Responder(
        shares.unenriched,
        shares.enriched,
        PosixFolder(places.kept, durable=durable),
        PosixFolder(places.quarantine),
        _enrichment(enricher),
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
    agent.employ(responder, close=enricher.aclose)


def _enrichment(enricher: Enricher) -> Enrich:
    """The responder's port to enrichment, served by the configured pipelines."""

    async def enrich(
        request: RequestMarker, source: BinaryIO, sink: BinaryIO, cancelled: Callable[[], bool]
    ) -> Answer:
        pipeline = enricher.choose(request.original_name, request.pipeline)
        result = await enricher.run(
            pipeline, request.original_name, source, sink, cancelled=cancelled
        )
        stats: dict[str, float] = {
            "records": result.stats.records,
            "ok": result.stats.ok,
            "failed": result.stats.failed,
            "calls": result.stats.calls,
            "cached": result.stats.cached,
        }
        return Answer(Outcome(result.outcome), stats, pipeline.name)

    return enrich
