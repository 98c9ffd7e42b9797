"""What an agent knows of itself, for whoever shows it outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from roundtrip.agent.schedule import Schedule
from roundtrip.deliver.runner import Runner
from roundtrip.roles.health import Condition
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder


class Exporter(Protocol):
    """Shows figures of a running agent to somebody outside."""

    def start(self) -> None:
        """Begin, on the agent's event loop; raises a RoundtripError if that can't be done."""

    def stop(self) -> None:
        """End; harmless without a beginning."""


class Figures(NamedTuple):
    """How an agent is; ages are in seconds. Its parts go on changing, on the event loop."""

    side: Requester | Responder
    schedules: list[Schedule]
    backends: dict[str, str]
    listings: int
    listing_age: float
    beat_age: float
    shares_lost: int
    shares_ok: bool
    conditions: list[Condition]
    deliveries: Sequence[Runner] = ()
