"""The responder's port to enrichment."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Protocol

from roundtrip.enrich.results import Progress, Stats
from roundtrip.protocol.markers import Outcome, RequestMarker


class Answer(NamedTuple):
    """What enrichment made of a payload; its bytes are in the sink."""

    outcome: Outcome
    stats: dict[str, float]
    pipeline: str


class Enrich(Protocol):
    """Enriches, and remembers what it paid for until the exchange is over."""

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        """Make an answer; `report` is called on the event loop, about once a second.

        Raises:
            PipelineError: this request can't be enriched; the text says why.
            Withdrawn: `cancelled` said so.
        """

    def forget(self, exchange: str) -> None:
        """The exchange is over; called for each, also where nothing is remembered."""

    def open_scopes(self) -> set[str]:
        """The exchanges for which anything is remembered."""


def sums(stats: Stats) -> dict[str, float]:
    """The counts of a run, as a response's marker has them."""
    return {
        "records": stats.records,
        "ok": stats.ok,
        "failed": stats.failed,
        "calls": stats.calls,
        "cached": stats.cached,
    }
