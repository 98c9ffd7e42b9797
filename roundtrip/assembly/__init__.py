"""Puts an agent together from its settings: which adapter goes where."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from roundtrip import __version__
from roundtrip.agent.agent import Agent, AgentPlaces, AgentSettings
from roundtrip.agent.shares import RemoteSettings, SharePair
from roundtrip.assembly.parts import Opened, Parts
from roundtrip.assembly.requester import employ_requester
from roundtrip.assembly.responder import Engine, employ_responder
from roundtrip.config import Settings
from roundtrip.places import Places
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.protocol.states import Role
from roundtrip.queues import DeadCounts
from roundtrip.roles.health import Health
from roundtrip.roles.peer import PeerWatch
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.posix import PosixFolder
from roundtrip.watch import WatchSettings

if TYPE_CHECKING:
    from prometheus_client import Metric


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
    kept = AgentPlaces(pins, state, places.health.name, [AgentLock(places.lock), shares.lock()])
    agent = _agent(settings, shares, kept)
    agent.peer = _peer(settings, places, agent.health)
    parts = Parts(agent, settings, places, shares, opened)
    engine = None
    if places.role is Role.REQUESTER:
        employ_requester(parts)
    else:
        engine = employ_responder(parts)
    agent.on_end(opened.close)
    if settings.look is not None:
        from roundtrip.doorbell import Doorbell

        agent.export(Doorbell(*settings.look, agent.look))
    if settings.metrics_listen is not None:
        _export(parts, settings.metrics_listen, engine)
    return agent


def _agent(settings: Settings, shares: SharePair, kept: AgentPlaces) -> Agent:
    return Agent(
        shares,
        kept,
        WatchSettings(settings.watch_backend, settings.watch_interval),
        Health(),
        AgentSettings(
            version=__version__,
            heartbeat=settings.timing.heartbeat,
            rescan=settings.timing.rescan,
            stop_timeout=settings.timing.stop_timeout,
            exchanges=settings.limits.exchanges,
        ),
    )


def _peer(settings: Settings, places: Places, health: Health) -> PeerWatch:
    return PeerWatch(
        lambda: closing(PosixFolder(places.home / INTERNAL_FOLDER)),
        places.role,
        health,
        version=__version__,
        heartbeat=settings.timing.heartbeat,
    )


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


def _export(parts: Parts, listen: str, engine: Engine | None) -> None:
    from roundtrip.exporter import Exporter  # Nobody else pays for a web server.
    from roundtrip.metrics import agent_metrics, dead_metrics, host_metrics, queue_metrics

    agent, places = parts.agent, parts.places

    def source(peer_age: float | None) -> Iterator[Metric]:
        yield from agent_metrics(agent.figures(), __version__, peer_age)
        if engine is not None and engine.hosts is not None:
            yield from host_metrics(engine.hosts(), time.time())
        if engine is not None and engine.queue is not None:
            yield from queue_metrics(engine.queue())

    dead = DeadCounts(parts.settings, places)
    peer = Role.RESPONDER if places.role is Role.REQUESTER else Role.REQUESTER
    signs = places.home / INTERNAL_FOLDER
    agent.export(Exporter(listen, source, signs, peer.value, lambda: dead_metrics(dead.look())))
