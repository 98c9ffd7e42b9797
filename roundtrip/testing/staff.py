"""The two roles as a simulation employs them: real ones, on failing folders, by a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from roundtrip.roles.admission import Admission, InFlight
from roundtrip.roles.desk import Desk
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.health import Health
from roundtrip.roles.outgoing import Outgoing
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.roles.room import Room
from roundtrip.roles.rooms import Rooms
from roundtrip.roles.settings import RequesterSettings, ResponderSettings
from roundtrip.roles.space import Disk
from roundtrip.shares.port import Folder, SharedFolder
from roundtrip.testing.enrichment import Enrichment, Ledger
from roundtrip.testing.host import AgentLife

DESK = ("submit", "pending", "collected", "closing", "tickets", "outcomes", "inbox", "failed",
        "archive")  # fmt: skip
"""A's own folders."""
DUE, DEAD = "a/deliveries", "a/dead"
"""Those of its delivery."""

_PATIENT = 10_000  # attempts and answers: what the faults cost must not end an exchange


@dataclass(frozen=True, slots=True)
class Terms:
    """How both roles work: `longest` is how long an enrichment may take, in seconds as all times.

    Only `at_once` exchanges are in flight, so that others have to wait for their turn.
    """

    settle: float = 1.0
    grace: float = 60.0
    longest: float = 30.0
    at_once: int = 2


TERMS = Terms()

Reach = Callable[[str], Folder]
"""The folder of a label, as the life that asks reaches it."""


def requester(
    reach: Reach,
    life: AgentLife,
    clock: Callable[[], float],
    terms: Terms,
    outgoing: Outgoing | None = None,
) -> Requester:
    """Role a."""
    away = reach("unenriched")
    desk = Desk(**{label: reach(f"a/{label}") for label in DESK})
    health, wake = Health(), life.schedule.wake
    home = _room("state", desk.pending, life, clock)
    admission = Admission(
        InFlight(exchanges=terms.at_once),
        away=_room("unenriched", away, life, clock),
        home=home,
        entrance=Entrance(None, home, health),
        health=health,
        wake=wake,
    )
    return Requester(
        away,
        reach("enriched"),
        desk,
        RequesterSettings(settle=terms.settle, grace=terms.grace, attempts=_PATIENT),
        clock=clock,
        now=clock,
        admission=admission,
        outgoing=outgoing,
    )


def responder(
    reach: Reach,
    life: AgentLife,
    clock: Callable[[], float],
    terms: Terms,
    ledger: Ledger,
    dice: random.Random,
) -> Responder:
    """Role b."""
    away, kept = reach("enriched"), reach("b/kept")
    return Responder(
        reach("unenriched"),
        away,
        kept,
        reach("b/quarantine"),
        Enrichment(ledger, dice, terms.longest, lambda: life.is_dead),
        ResponderSettings(
            settle=terms.settle, grace=terms.grace, exchanges=terms.at_once, answers=_PATIENT
        ),
        wake=life.schedule.wake,
        clock=clock,
        rooms=Rooms(
            away=_room("enriched", away, life, clock), home=_room("state", kept, life, clock)
        ),
    )


def _room(key: str, folder: SharedFolder, life: AgentLife, clock: Callable[[], float]) -> Room:
    return Room(Disk(key, ""), folder, 0, Health(), life.schedule.wake, clock)
