"""What both roles share: looking at the four names, and deciding when a broken state is mended."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

from roundtrip.protocol.names import MARKER_SUFFIX, is_canary, is_internal, marker_of, split
from roundtrip.protocol.progress import split_progress
from roundtrip.protocol.states import (
    Names,
    Observed,
    Role,
    State,
    Step,
    mending_step,
    next_step,
    state_of,
)
from roundtrip.roles.cleaning import Cleaner
from roundtrip.roles.tally import Tally
from roundtrip.shares.port import SharedFolder

log = logging.getLogger("roundtrip.roles")


class Plan(NamedTuple):
    """The next step, and in how many seconds to look again if that step is to wait."""

    step: Step
    again: float | None = None


class Side:
    """One role at work on the two shares; subclasses say how each step is done."""

    role: Role

    def __init__(
        self,
        unenriched: SharedFolder,
        enriched: SharedFolder,
        *,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
        cleaner: Cleaner | None = None,
    ) -> None:
        self.unenriched = unenriched
        self.enriched = enriched
        self._mine = unenriched if self.role is Role.REQUESTER else enriched
        self._grace = grace
        self._clock = clock
        self._broken_since: dict[str, float] = {}
        self.tally = Tally()
        self._cleaner = cleaner or Cleaner()
        self._cleaner.tally = self.tally

    async def observe(self, exchange: str) -> Names:
        """Which of the four names exist. Markers first: payloads precede them, so that a publish
        that happens meanwhile looks unfinished, not broken."""
        marker = marker_of(exchange)
        request_marker = await self.unenriched.stat(marker) is not None
        request = await self.unenriched.stat(exchange) is not None
        response_marker = await self.enriched.stat(marker) is not None
        response = await self.enriched.stat(exchange) is not None
        return Names(request, request_marker, response, response_marker)

    def plan(self, exchange: str, names: Names, wanted: bool) -> Plan:
        """What to do about these names now."""
        observed = Observed(names, wanted)
        if state_of(names) is not State.BROKEN:
            self._broken_since.pop(exchange, None)
            return Plan(next_step(self.role, observed))
        since = self._broken_since.setdefault(exchange, self._clock())
        left = since + self._grace - self._clock()
        if left > 0:
            return Plan(Step.WAIT, left)
        step = mending_step(self.role, observed)
        if step is not Step.WAIT:
            log.warning("mending", extra={"exchange": exchange, "names": list(names)})
        return Plan(step)

    def due(self, found: Mapping[str, Names], wanted: Container[str]) -> list[tuple[str, Step]]:
        """The exchanges among `found` that this role has something to do about, oldest first."""
        steps = (
            (exchange, self.plan(exchange, names, exchange in wanted))
            for exchange, names in found.items()
        )
        return sorted(
            (exchange, step)
            for exchange, (step, again) in steps
            if step is not Step.WAIT or again is not None
        )

    def is_broken(self, exchange: str) -> bool:
        """Whether the exchange was in a broken state when it was last planned."""
        return exchange in self._broken_since

    def details(self) -> dict[str, Any]:
        """What this host alone is told of the work in hand."""
        return {}

    def stop(self) -> None:
        """The agent ends: what takes long is to be put aside."""
        self._cleaner.stop()

    async def cleaned(self) -> None:
        """Wait for the end of the cleaning that `rescan` began, if it did."""
        await self._cleaner.finish()

    async def drop(self, exchange: str, step: Step) -> None:
        """Remove one of the role's own names."""
        name = marker_of(exchange) if step is Step.DROP_MARKER else exchange
        await self._mine.remove(name)
        what = step.removeprefix("drop ")
        log.log(level_of(exchange), "dropped", extra={"exchange": exchange, "what": what})


def level_of(exchange: str) -> int:
    """The level of log lines about the normal course of an exchange: nobody reads of canaries."""
    return logging.DEBUG if is_canary(exchange) else logging.INFO


_BITS = {False: (1, 4), True: (2, 8)}  # (unenriched, enriched), by whether the name is a marker
_NAMES = [Names(*(bool(bits & bit) for bit in (1, 2, 4, 8))) for bits in range(16)]


class Survey(NamedTuple):
    """What one listing found.

    `strange` are the markers in Unenriched whose names are outside the grammar, `progress` the
    progress files in Enriched.
    """

    exchanges: dict[str, Names]
    strange: list[str]
    progress: list[str]

    def states(self) -> dict[str, int]:
        """How many exchanges are in each state that there is; canaries are nobody's exchanges."""
        found: Counter[str] = Counter()
        for names, count in Counter(self.exchanges.values()).items():
            found[state_of(names).value] += count
        for exchange, names in self.exchanges.items():
            if is_canary(exchange):
                found[state_of(names).value] -= 1
        return dict(found)


async def survey(unenriched: SharedFolder, enriched: SharedFolder) -> Survey:
    """What lies on the two shares, by one listing of each."""
    bits: dict[str, int] = {}
    strange: list[str] = []
    progress: list[str] = []
    # Enriched first: an answer that comes in between belongs to a request that is seen after it.
    for side, folder in ((1, enriched), (0, unenriched)):
        for name in await folder.names():
            if found := split(name):
                exchange, is_marker = found
                bits[exchange] = bits.get(exchange, 0) | _BITS[is_marker][side]
            elif side == 0 and is_strange(name):
                strange.append(name)
            elif side == 1 and split_progress(name):
                progress.append(name)
    found_names = {exchange: _NAMES[found] for exchange, found in bits.items()}
    return Survey(found_names, strange, progress)


def is_strange(name: str) -> bool:
    """Whether a name asks for an answer that can't be given under such a name."""
    return name.endswith(MARKER_SUFFIX) and not is_internal(name)
