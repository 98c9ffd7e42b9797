"""What applications on A do in a simulation, and what must have become of it at the end."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count

from roundtrip.protocol.names import Namer
from roundtrip.testing.enrichment import HOPELESS, answer_to

Files = Mapping[str, Mapping[str, bytes]]
"""All files by folder and name."""

_HOMES = ("a/pending", "a/closing", "a/archive", "a/failed")


@dataclass(frozen=True, slots=True)
class Wish:
    """One original that an application hands in `at` so many seconds, and perhaps takes back."""

    exchange: str
    name: str
    content: bytes
    at: float
    pipeline: str | None = None
    withdrawn_at: float | None = None

    @property
    def answer(self) -> bytes:
        """What must be delivered for it."""
        return answer_to(self.content, self.pipeline)

    @property
    def is_hopeless(self) -> bool:
        """Whether its answer is `failed`."""
        return HOPELESS in self.content


def endless_wishes(dice: random.Random) -> Iterator[Wish]:
    """One after the other, none of them taken back."""
    namer = Namer(clock=lambda: 1.7e9, randbits=dice.getrandbits)
    for number in count():
        yield replace(_wish(number, namer, dice, 0.0), withdrawn_at=None)


def make_wishes(dice: random.Random, until: float) -> list[Wish]:
    """A small mix: some of the same name, some that fail, some that are taken back."""
    namer = Namer(clock=lambda: 1.7e9, randbits=dice.getrandbits)
    return [_wish(number, namer, dice, until) for number in range(dice.randrange(1, 5))]


def _wish(number: int, namer: Namer, dice: random.Random, until: float) -> Wish:
    name = dice.choice(("orders.csv", f"orders-{number}.csv"))
    lines = b"".join(b"%d,de\n" % dice.getrandbits(30) for _ in range(dice.randrange(1, 9)))
    hopeless = HOPELESS if dice.random() < 0.15 else b""
    at = dice.random() * until
    withdrawn = at + dice.random() ** 2 * until if dice.random() < 0.2 else None
    content = b"wish %d\n" % number + hopeless + lines
    pipeline = "other" if dice.random() < 0.3 else None
    return Wish(namer(name), name, content, at, pipeline, withdrawn)


def original_faults(wish: Wish, files: Files) -> Iterator[str]:
    """What is wrong, at any instant, with a wish that was handed in and not taken back."""
    homes = [
        f"{place}/{name}"
        for place in _HOMES
        for name, content in files[place].items()
        if content == wish.content
    ]
    if len(homes) != 1:
        yield f"the original of {wish.exchange} is at {homes}, not in one place"


def delivery_faults(wishes: list[Wish], files: Files) -> Iterator[str]:
    """What is wrong, at any instant, with what was delivered."""
    expected = {wish.answer: wish for wish in wishes if not wish.is_hopeless}
    seen: set[bytes] = set()
    for name, content in files["a/inbox"].items():
        if content not in expected:
            yield f"inbox/{name} is nobody's answer: {content[:60]!r}"
        if content in seen:
            yield f"inbox/{name} was delivered twice"
        seen.add(content)


def is_done(wish: Wish, files: Files) -> bool:
    """Whether a wish has got all that it can get."""
    delivered = wish.answer in files["a/inbox"].values()
    if wish.is_hopeless:
        return wish.content in files["a/failed"].values()
    return delivered and files["a/archive"].get(wish.exchange) == wish.content


LEFT_BY_NOBODY = ("unenriched", "enriched", "b/kept", "b/quarantine", "a/pending", "a/closing",
                  "a/deliveries", "a/dead")  # fmt: skip
TIDIED_AT_START = ("a/collected", "a/tickets", "a/submit")


def leftovers(files: Files, places: tuple[str, ...]) -> list[str]:
    """What should have gone by the end; in-flight names are swept when an agent begins."""
    return [
        f"{place}/{name} is left"
        for place in places
        for name in files[place]
        if not name.startswith(".")
    ]
