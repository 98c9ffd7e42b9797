"""Role a: the requester, its outbox, its deliveries, and the wishes that it heeds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields

from roundtrip.agent.outbox import Outbox
from roundtrip.agent.wishes import WishWatch
from roundtrip.assembly.census import Census
from roundtrip.assembly.parts import Parts, bounds_of, whoami
from roundtrip.deliveries import Outbound, outbound
from roundtrip.protocol.names import Namer
from roundtrip.roles.admission import Admission, InFlight
from roundtrip.roles.canary import Canary
from roundtrip.roles.cleaning import Cleaner, requester_shelves
from roundtrip.roles.desk import Desk
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.health import read_health
from roundtrip.roles.intake import Intake, OutboxSettings
from roundtrip.roles.outgoing import Outgoing
from roundtrip.roles.requester import Requester
from roundtrip.roles.settings import RequesterSettings
from roundtrip.roles.space import Disk
from roundtrip.roles.ticket import Ticket
from roundtrip.roles.wishes import Wishes
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder


def employ_requester(parts: Parts) -> None:
    """Give the agent role a."""
    agent, settings, places = parts.agent, parts.settings, parts.places
    desk = places.desk(durable=parts.opened.durable)
    admission = _admission(parts, desk.pending)
    beyond = outbound(settings, places, parts.opened.own, agent.health, admission.home)
    parts.opened.add(*(getattr(desk, field.name) for field in fields(desk)))
    places.cancels.mkdir(mode=0o700, exist_ok=True)
    cancels = Wishes(parts.opened.folder(places.cancels))
    requester = _requester(parts, desk, admission, beyond, cancels)
    outbox = _outbox(parts, desk, admission, requester)
    agent.on_end(outbox.close)
    begin, close = _beside(parts, beyond, cancels)
    agent.employ(requester, outbox, begin, close, beyond.deliveries)


def _requester(
    parts: Parts, desk: Desk, admission: Admission, beyond: Outbound, cancels: Wishes
) -> Requester:
    settings = parts.settings
    return Requester(
        parts.shares.remote,
        parts.shares.local,
        desk,
        RequesterSettings(
            settle=settings.timing.settle,
            grace=settings.timing.grace,
            attempts=settings.limits.attempts,
            sender=whoami(),
            deadline=settings.timing.deadline,
        ),
        health=parts.agent.health,
        canary=_canary(parts, desk.pending),
        cleaner=Cleaner(
            requester_shelves(desk, bounds_of(settings.archive), bounds_of(settings.failed)),
            stamp := parts.stamp(),
            parts=[stamp[0], *beyond.folders],
        ),
        admission=admission,
        outgoing=Outgoing(beyond.lanes),
        cancels=cancels,
    )


def _outbox(parts: Parts, desk: Desk, admission: Admission, requester: Requester) -> Outbox:
    how = parts.settings.outbox
    intake = Intake(desk, OutboxSettings(how.complete, how.settle, how.ignore), Namer())

    async def adopt(exchange: str, ticket: Ticket | None) -> None:
        requester.adopt(exchange, ticket)
        await parts.agent.look_now(exchange)

    return Outbox(
        PosixFolder(parts.places.outbox),
        PosixFolder(parts.places.submit),
        desk,
        intake,
        adopt,
        admission.entrance,
    )


def _beside(
    parts: Parts, beyond: Outbound, cancels: Wishes
) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    """What begins and ends with the agent: deliveries, and looking out for wishes and the dead."""
    deliveries = beyond.deliveries
    census = Census(parts.settings, parts.places, parts.agent.health)
    for runner in deliveries.runners:
        runner.notes.on_dead = census.wake

    async def heed_wishes() -> None:
        await deliveries.heed_wishes()
        census.wake()  # Commands make dead ones due again.

    async def heed_cancels() -> None:
        for name in await cancels.names():
            parts.agent.wake(name)

    watches = [WishWatch(parts.places.cancels, heed_cancels)]
    if beyond.lanes:
        watches.append(WishWatch(parts.places.deliveries, heed_wishes))

    async def begin() -> None:
        await deliveries.start()
        await census.start()
        for watch in watches:
            watch.start()

    async def close() -> None:
        for watch in watches:
            watch.close()
        await deliveries.stop()
        await census.close()

    return begin, close


def _admission(parts: Parts, pending: Folder) -> Admission:
    limits, agent = parts.settings.limits, parts.agent
    waits = "files in the outbox, answers in Enriched, what deliveries came to"
    room = parts.room(Disk("state", waits), pending)
    away = Disk("unenriched", "exchanges in state/pending")
    return Admission(
        InFlight(limits.in_flight_exchanges, limits.in_flight_bytes),
        away=parts.room(away, parts.shares.remote),
        home=room,
        entrance=Entrance(limits.pending, room, agent.health),
        health=agent.health,
        wake=agent.wake,
    )


def _canary(parts: Parts, pending: Folder) -> Canary | None:
    agent, every = parts.agent, parts.settings.canary
    if every is None:
        return None
    peer = agent.peer.spoken if agent.peer is not None else lambda: None
    canary = Canary(pending, every, agent.health, wake=agent.wake, peer=peer)
    before = read_health(parts.places.health).get("canary")
    canary.recall(before if isinstance(before, dict) else {})
    return canary
