"""What limits are doing now, in plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from roundtrip.enrich.limits.lane import Lane
from roundtrip.enrich.limits.quota import Spent


@dataclass(frozen=True, slots=True)
class Figures:
    """One host and credential; credentials are numbered from 1, in the order of their steps.

    `limit` is how many calls may be under way at once now. `paused_until` (Unix time): no call is
    made before, because the host asked for that or because the breaker is open.
    """

    host: str
    credential: int
    in_flight: int
    waiting: int
    limit: int
    breaker: str  # closed | open | half-open
    paused_until: float | None
    quotas: tuple[Spent, ...]  # the host's own, then its steps'


def figures(lane: Lane, credential: int) -> Figures:
    """The lane's figures; its credential is called by this number."""
    bounds = [lane.bounds, *(queue.bounds for queue in lane.queues)]
    holds = [hold.ends for hold in (lane.pause, lane.open) if hold.until is not None]
    return Figures(
        host=lane.host,
        credential=credential,
        in_flight=lane.bounds.in_flight,
        waiting=lane.waiting,
        limit=lane.bounds.limit,
        breaker=lane.breaker.state,
        paused_until=max(holds, default=None),
        quotas=tuple(spent for one in bounds if one.quotas for spent in one.quotas.figures()),
    )
