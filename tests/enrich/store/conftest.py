"""Stores of both kinds, with a clock that tests set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.enrich.store.port import Store
from roundtrip.enrich.store.sqlite import SqliteStore


@dataclass
class Clock:
    """Stands for `time.time`."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
async def sqlite(path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, path: Path, clock: Clock) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    made = SqliteStore(path, clock=clock)
    await made.open()
    yield made
    await made.aclose()
