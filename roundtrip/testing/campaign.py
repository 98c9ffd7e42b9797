"""Many seeds, one after the other: what they came to in all, and what they found."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from roundtrip.testing.faults import PROFILES
from roundtrip.testing.simulation import Violation, simulate


@dataclass(slots=True)
class Totals:
    """Sums over seeds; `calm` is the longest convergence in virtual seconds."""

    seeds: int = 0
    exchanges: int = 0
    operations: int = 0
    looks: int = 0
    deaths: int = 0
    runs: int = 0
    calm: float = 0.0
    seconds: float = 0.0
    needless: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the roles' log lines: thousands, about injected errors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def campaign(seeds: Iterable[int], profile: str, *, at_most: float | None = None) -> Totals:
    """Run seeds under one of `PROFILES`, for `at_most` seconds if that is given."""
    totals = Totals()
    began = time.monotonic()
    with _quietly():
        for seed in seeds:
            _run(seed, profile, totals)
            totals.seconds = time.monotonic() - began
            if at_most is not None and totals.seconds >= at_most:
                break
    return totals


def _run(seed: int, profile: str, totals: Totals) -> None:
    totals.seeds += 1
    try:
        account = simulate(seed, PROFILES[profile], profile)
    except Violation as violation:
        totals.violations.append(str(violation))
        return
    for name in ("exchanges", "operations", "looks", "deaths", "runs"):
        setattr(totals, name, getattr(totals, name) + getattr(account, name))
    totals.calm = max(totals.calm, account.calm)
    totals.needless += account.needless
