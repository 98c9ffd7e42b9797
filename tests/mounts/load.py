"""Files for a broken world: handed in by number, and each looked for exactly once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from random import Random

from tests.e2e.payloads import Sample, sample
from tests.e2e.world import World, wait_until

_KINDS = ("csv", "jsonl", "bin", "raw")
_ALL = os.environ.get("MOUNTS") == "all"


def cases(*always: object, more: Iterable[object] = ()) -> list[object]:
    """Parameters of a test; those in `more` only where $MOUNTS is `all`: most tests wait a lot."""
    return [*always, *(more if _ALL else ())]


def asked_for(number: int) -> Sample:
    """The file of that number, and its result."""
    return sample(Random(number), f"{number}.{_KINDS[number % len(_KINDS)]}", 400)


def hand_in(world: World, numbers: Iterable[int]) -> None:
    """Drop these files into the outbox."""
    for number in numbers:
        world.drop(*asked_for(number)[:2])


def expect(world: World, numbers: Iterable[int], seconds: float = 20.0) -> None:
    """Wait until the inbox has the results of these files; take them, and see that all is right."""
    wanted = [asked_for(number) for number in numbers]
    expected = Counter((each.name, each.result) for each in wanted)
    what = f"{len(wanted)} results"
    wait_until(lambda: len(list(world.inbox.iterdir())) >= len(wanted), what, seconds)
    world.wait_swept(seconds)
    found = Counter((path.name, path.read_bytes()) for path in world.inbox.iterdir())
    assert found == expected, f"lost {expected - found}, not asked for {found - expected}"
    assert not list(world.failed.iterdir())
    for path in world.inbox.iterdir():
        path.unlink()
