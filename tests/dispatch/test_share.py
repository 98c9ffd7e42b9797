"""What several workers make of limits that they have together."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from roundtrip.dispatch.quota import SharedCounters, SharedStore
from roundtrip.dispatch.room import Room
from roundtrip.dispatch.standing import Standing
from roundtrip.enrich.limits import Governor, Share
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import (
    CommandSettings,
    HostSettings,
    HttpSettings,
    Quota,
    Rate,
    StepSettings,
)
from roundtrip.enrich.store.memory import MemoryStore

BEAT = 0.05


@given(some.integers(1, 1000), some.integers(1, 60))
def test_the_parts_of_a_limit_add_up_to_it(total: int, workers: int) -> None:
    parts = [Share(number, workers).calls(total) for number in range(workers)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def step(**more: object) -> StepSettings:
    """A step that calls a host."""
    return StepSettings("s", HttpSettings("https://api.example.org/"), **more)  # type: ignore[arg-type]


class Calls:
    """Counts calls, and how many were under way at once."""

    def __init__(self) -> None:
        self.made = self.now = self.most = 0
        self.open = asyncio.Event()

    async def one(self) -> None:
        """A call."""
        self.made += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1


async def test_a_share_bounds_calls_at_once_and_follows_the_number_of_workers() -> None:
    governor = Governor({}, MemoryStore().counters)
    gate = governor.gate("p", step(concurrency=8), "api.example.org")
    store = MemoryStore()
    calls = Calls()
    governor.share(Share(1, 3))  # three of eight, as the second of three
    tasks = [asyncio.create_task(gate.call(calls.one, Run("x", store))) for _ in range(20)]
    await asyncio.sleep(0.02)
    assert calls.now == 3
    governor.share(Share(0, 1))
    for _ in range(100):  # It grows as answers come, as with any limit that is learnt.
        await asyncio.sleep(0)
    calls.open.set()
    await asyncio.gather(*tasks)
    assert calls.most <= 8
    assert calls.made == 20


async def test_a_step_that_calls_no_host_keeps_its_own_number() -> None:
    governor = Governor({}, MemoryStore().counters)
    governor.share(Share(0, 4))
    local = StepSettings("s", CommandSettings(("true",)), concurrency=8)
    gate = governor.gate("p", local)
    calls = Calls()
    store = MemoryStore()
    tasks = [asyncio.create_task(gate.call(calls.one, Run("x", store))) for _ in range(20)]
    await asyncio.sleep(0.02)
    assert calls.now == 8
    calls.open.set()
    await asyncio.gather(*tasks)


async def test_a_rate_is_divided() -> None:
    governor = Governor({}, MemoryStore().counters)
    governor.share(Share(0, 4))
    gate = governor.gate("p", step(rate=Rate(80, 1.0)), "api.example.org")
    calls = Calls()
    calls.open.set()
    began = time.monotonic()
    store = MemoryStore()
    await asyncio.gather(*(gate.call(calls.one, Run("x", store)) for _ in range(11)))
    assert time.monotonic() - began >= 0.45, "20 a second were allowed"


async def test_two_workers_never_exceed_a_quota_together(tmp_path: Path) -> None:
    room = Room(tmp_path / "queue")
    await room.do(room.make)
    made = []
    for number in range(2):
        store = SharedStore(MemoryStore(), SharedCounters(Room(tmp_path / "queue")))
        host = HostSettings("api.example.org", quota=Quota(month=300))
        governor = Governor({"api.example.org": host}, store.counters)
        governor.share(Share(number, 2))
        made.append(governor.gate("p", step(concurrency=50), "api.example.org"))
    calls = Calls()
    calls.open.set()
    run = Run("x", MemoryStore())
    tasks = [asyncio.create_task(gate.call(calls.one, run)) for gate in made for _ in range(200)]
    while calls.made < 300:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert calls.made == 300
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Standings:
    """Workers that beat beside each other."""

    def __init__(self, path: Path, places: int = 100) -> None:
        self._path = path
        self._places = places
        self._tasks: dict[Standing, asyncio.Task[None]] = {}

    def join(self, letter: str) -> Standing:
        """One more."""

        async def nothing() -> None:
            return None

        made = Standing(
            Room(self._path),
            f"01ARZ3NDEKTSV4RRFFQ69G5FA{letter}",
            beat=BEAT,
            places=self._places,
            say=dict,
            each_beat=nothing,
        )
        self._tasks[made] = asyncio.create_task(made.run())
        return made

    async def kill(self, standing: Standing) -> None:
        """It beats no more."""
        task = self._tasks.pop(standing)
        task.cancel()
        await asyncio.wait([task])

    async def close(self) -> None:
        """End them all."""
        for standing in list(self._tasks):
            await self.kill(standing)


@pytest.fixture
async def queue(tmp_path: Path) -> Path:
    """A queue's folder."""
    room = Room(tmp_path / "queue")
    await room.do(room.make)
    return tmp_path / "queue"


async def until(standing: Standing, share: Share | None) -> None:
    """Wait until a worker has this share."""
    async with asyncio.timeout(20.0):
        while standing.share != share:
            standing.changed.clear()
            await standing.changed.wait()


async def test_workers_that_join_and_die_share_evenly(queue: Path) -> None:
    workers = Standings(queue)
    one = workers.join("A")
    await until(one, Share(0, 1))
    two = workers.join("B")
    await until(two, Share(1, 2))
    assert one.share == Share(0, 2), "the newcomer worked before the others made room"
    await workers.kill(one)
    await until(two, Share(0, 1))
    await workers.close()


async def test_more_workers_than_a_limit_has_room_for_stand_by(queue: Path) -> None:
    workers = Standings(queue, places=1)
    one = workers.join("A")
    await until(one, Share(0, 1))
    two = workers.join("B")
    await asyncio.sleep(8 * BEAT)
    assert (one.share, two.share) == (Share(0, 1), None)
    await workers.kill(one)
    await until(two, Share(0, 1))
    await workers.close()
