"""Role b: the responder, and what enriches for it: the agent itself, or workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from roundtrip.agent.wishes import WishWatch
from roundtrip.assembly.parts import Parts, bounds_of, whoami
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.roles.cleaning import Cleaner, Shelf
from roundtrip.roles.enrichment import Answer, Enrich, sums
from roundtrip.roles.responder import Responder
from roundtrip.roles.rooms import Rooms
from roundtrip.roles.settings import ResponderSettings
from roundtrip.roles.space import Disk
from roundtrip.shares.port import Folder

if TYPE_CHECKING:
    from roundtrip.dispatch.supervision import QueueFigures
    from roundtrip.enrich import Enricher
    from roundtrip.enrich.limits import Figures as HostFigures
    from roundtrip.enrich.results import Progress


def employ_responder(parts: Parts) -> Engine:
    """Give the agent role b; returns what enriches for it."""
    engine = _engine(parts)
    parts.places.retries.mkdir(mode=0o700, exist_ok=True)
    retries = parts.opened.folder(parts.places.retries)
    responder = _responder(parts, engine, retries)
    wishes = WishWatch(parts.places.retries, responder.heed_wishes)

    async def begin() -> None:
        await engine.open()
        wishes.start()

    async def close() -> None:
        wishes.close()
        await engine.close()

    parts.agent.employ(responder, begin=begin, close=close)
    return engine


def _responder(parts: Parts, engine: Engine, retries: Folder) -> Responder:
    settings = parts.settings
    reports = parts.opened.folder(parts.places.quarantine, durable=False)
    kept = parts.opened.folder(parts.places.kept)
    return Responder(
        parts.shares.local,
        parts.shares.remote,
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
            responder=whoami(),
        ),
        wake=parts.agent.wake,
        retries=retries,
        rooms=_rooms(parts, kept),
        cleaner=Cleaner(
            [Shelf("quarantine", reports, bounds_of(settings.quarantine))],
            stamp := parts.stamp(),
            parts=[stamp[0], retries],
        ),
        details=engine.details,
    )


def _rooms(parts: Parts, kept: Folder) -> Rooms:
    away = Disk("enriched", "answers in state/kept, requests in Unenriched")
    home = Disk("state", "requests in Unenriched")
    return Rooms(away=parts.room(away, parts.shares.remote), home=parts.room(home, kept))


@dataclass(frozen=True, slots=True)
class Engine:
    """What enriches for the responder: the agent itself, or workers."""

    enrich: Enrich
    open: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    hosts: Callable[[], list[HostFigures]] | None = None
    queue: Callable[[], QueueFigures | None] | None = None
    details: Callable[[], dict[str, Any]] = dict


def _engine(parts: Parts) -> Engine:
    settings = parts.settings
    if settings.queue is not None:
        from roundtrip.dispatching import build_desk

        desk = build_desk(settings, parts.agent.health)
        last = desk.supervision.last
        return Engine(desk, desk.open, desk.aclose, queue=last, details=desk.details)
    from roundtrip.enrich import Enricher  # Only role b pays for an HTTP client.
    from roundtrip.enrich.store.sqlite import SqliteStore

    store = SqliteStore(parts.places.ledger, max_bytes=settings.cache_size)
    enricher = Enricher(settings.pipelines, hosts=settings.hosts, store=store)

    async def begin() -> None:
        await enricher.open()
        store.watch_wishes(parts.places.wishes)

    return Engine(_Enrichment(enricher), begin, enricher.aclose, enricher.figures)


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
