"""The receiver of a simulation's delivery: refuses at random, and notes what it got, and when.

a/deliveries --the real runner, of A's present life--> Receiver
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from roundtrip.deliver.entry import content_of
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.runner import Runner
from roundtrip.deliver.settings import OUTCOMES, DeliverySettings, ExecSettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.roles.outgoing import Lane, Outgoing
from roundtrip.testing.host import AgentLife
from roundtrip.testing.staff import DEAD, DUE, Reach

SETTINGS = DeliverySettings(
    "receiver", ExecSettings(("true",)), on=OUTCOMES, max_delay=10.0, expire=1e9
)
_REFUSED = 0.2  # of the parcels, while there are faults
_DECADES = 1e9  # seconds of a clock that shows a time of day


class Receiver:
    """Outlives all lives; implements `Delivery`. `files` are the truth about all folders."""

    def __init__(
        self,
        dice: random.Random,
        files: Callable[[], dict[str, dict[str, bytes]]],
        clock: Callable[[], float],
    ) -> None:
        self.got: Counter[str] = Counter()
        self.findings: list[str] = []
        self.refuses = True
        self._dice = dice
        self._files = files
        self._clock = clock

    async def deliver(self, parcel: Parcel) -> None:
        """Take it, or refuse it; see that only what is true is told."""
        if self.refuses and self._dice.random() < _REFUSED:
            raise Undelivered(True, "not now", away=self._dice.random() < 0.5)
        files = self._files()
        content = files[DUE].get(content_of(parcel.exchange))
        place = "a/failed" if parcel.outcome == "failed" else "a/inbox"
        if content is None:
            self.findings.append(f"{parcel.id} was delivered without its content")
        elif files[place].get(parcel.path.name) != content:
            self.findings.append(f"{parcel.id} was delivered before it was in {place}")
        self.got[parcel.exchange] += 1

    async def aclose(self) -> None:
        """Nothing to give back."""

    def employ(self, reach: Reach, life: AgentLife) -> Outgoing:
        """What a life of role a writes to, and its runner at work."""
        due, shelf = reach(DUE), Shelf(reach(DUE), reach(DEAD))

        def now() -> float:
            return _DECADES + self._clock()

        runner = Runner(SETTINGS, shelf, Path("due"), lambda: self, now=now, dice=self._dice)
        runner.start()
        life.ends.append(runner.cut)
        return Outgoing([Lane(SETTINGS, due, shelf, runner.push)], now)
