"""Follow sample files on their way by looking at the folders, as anybody can."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roundtrip.demo.stage import Stage
from roundtrip.errors import StillWaiting
from roundtrip.protocol.names import marker_of, slug
from roundtrip.protocol.states import Names, State, state_of

PATIENCE = 30.0
_LOOK_EVERY = 0.002  # seconds; the states of a small file last a few milliseconds


@dataclass(slots=True)
class Journey:
    """One file's way: the places and states seen so far, each with its second since the start."""

    name: str
    started: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, str]] = field(default_factory=list)
    result: Path | None = None
    delivered: float | None = None
    over: bool = False

    @property
    def place(self) -> str:
        """Where the file was seen last."""
        return self.seen[-1][1] if self.seen else ""

    @property
    def seconds(self) -> float:
        """How long it took until the result was delivered, or has taken until now."""
        return time.monotonic() - self.started if self.delivered is None else self.delivered

    def note(self, place: str) -> bool:
        """Add a place if it is new; True if it was."""
        if place == self.place:
            return False
        self.seen.append((time.monotonic() - self.started, place))
        return True


@dataclass(frozen=True, slots=True)
class Lookout:
    """The folders in which files are looked for, all of them host A's but Unenriched."""

    root: Path
    unenriched: Path

    def look(self, journey: Journey) -> bool:
        """Bring one journey up to date; True if something changed."""
        if journey.result is None:
            journey.result = self._delivered(journey)
        # After the inbox: with a result there, a state of absent means the end and not the start.
        state = self._state(journey.name)
        journey.over = journey.result is not None and state is State.ABSENT
        return journey.note(self._place(journey, state))

    def _delivered(self, journey: Journey) -> Path | None:
        for folder in ("inbox", "failed"):
            if (self.root / folder / journey.name).exists():
                journey.delivered = time.monotonic() - journey.started
                return self.root / folder / journey.name
        return None

    def _place(self, journey: Journey, state: State) -> str:
        if state is not State.ABSENT:
            return state.value
        if journey.result is not None:
            return journey.result.parent.name
        return "outbox" if (self.root / "outbox" / journey.name).exists() else "pending"

    def _state(self, name: str) -> State:
        ending = f"-{slug(name)}"
        # In the order in which names come and go, so that a look between two of them is no lie.
        requests, answers = os.listdir(self.unenriched), os.listdir(self.root / "Enriched")
        names = Names(
            _ends(requests, ending),
            _ends(requests, marker_of(ending)),
            _ends(answers, ending),
            _ends(answers, marker_of(ending)),
        )
        return state_of(names)


def _ends(names: list[str], ending: str) -> bool:
    return any(name.endswith(ending) and not name.startswith(".") for name in names)


def follow(journeys: list[Journey], lookout: Lookout, stage: Stage) -> Iterator[Journey]:
    """Yield a journey at each change, until all are over.

    Raises:
        StillWaiting: `PATIENCE` seconds went by.
        RoundtripError: an agent ended.
        KeyboardInterrupt: the user wants to end it.
    """
    deadline = time.monotonic() + PATIENCE
    while not all(journey.over for journey in journeys):
        stage.check()
        yield from (journey for journey in journeys if lookout.look(journey))
        if time.monotonic() > deadline:
            raise StillWaiting(_stuck(journeys) + stage.log_tails())
        time.sleep(_LOOK_EVERY)


def _stuck(journeys: list[Journey]) -> str:
    files = ", ".join(
        f"{journey.name} ({journey.place})" for journey in journeys if not journey.over
    )
    return f"no end after {PATIENCE:.0f} s: {files}"
