"""What stands for the engine in a simulation: it takes its time, and remembers what it paid for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import BinaryIO

from roundtrip.enrich import Withdrawn
from roundtrip.enrich.results import Progress
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.roles.enrichment import Answer

UNEXPLAINED = "unexplained"
HOPELESS = b"hopeless"
"""A payload with this can't be enriched."""


def answer_to(content: bytes, pipeline: str | None) -> bytes:
    """What enrichment makes of a content."""
    return content.upper() + f"by {pipeline or 'default'}\n".encode()


class Ledger:
    """What B has paid for: synced, so it outlives the process and the power.

    Each run is counted, and one for a payload that was enriched before has a reason: what happened
    to its exchange in between.
    """

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.runs = 0
        self.needless: Counter[str] = Counter()
        self._reasons: dict[tuple[str, bytes], str] = {}
        self._doubtful: dict[str, str] = {}  # what may break off a run that is about to begin

    def begin(self, exchange: str, content: bytes) -> None:
        """A payload is enriched."""
        self.open.add(exchange)
        self.runs += 1
        reason = self._reasons.get((exchange, content))
        if reason is not None:
            self.needless[reason or f"{UNEXPLAINED}: {exchange}"] += 1
        self._reasons[exchange, content] = self._doubtful.pop(exchange, "")

    def excuse(self, reason: str, exchange: str | None = None) -> None:
        """Something happened that may make B enrich an exchange again, or all of them."""
        for key in self._reasons:
            if exchange is None or key[0] == exchange:
                self._reasons[key] = reason

    def doubt(self, reason: str, exchange: str) -> None:
        """The same, and it may break off a run that is just about to begin."""
        self.excuse(reason, exchange)
        self._doubtful[exchange] = reason


class Enrichment:
    """Satisfies `roundtrip.roles.enrichment.Enrich` for one life of a responder."""

    def __init__(
        self, ledger: Ledger, dice: random.Random, longest: float, is_dead: Callable[[], bool]
    ) -> None:
        self._ledger = ledger
        self._dice = dice
        self._longest = longest
        self._is_dead = is_dead

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        content = source.read()
        self._ledger.begin(request.exchange, content)
        await asyncio.sleep(self._dice.random() ** 4 * self._longest)
        if self._is_dead():
            raise asyncio.CancelledError
        if cancelled():
            raise Withdrawn
        if HOPELESS in content:
            raise PipelineError("this can't be enriched")
        sink.write(answer_to(content, request.pipeline))
        return Answer(Outcome.ENRICHED, {}, request.pipeline or "default")

    def forget(self, exchange: str) -> None:
        self._ledger.open.discard(exchange)

    def open_scopes(self) -> set[str]:
        return set(self._ledger.open)
