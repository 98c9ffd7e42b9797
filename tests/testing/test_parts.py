"""The simulator's parts: the loop, the disk under a power cut, events, and the sum of it all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from roundtrip.testing import Faults, Weather
from roundtrip.testing.disk import Disk
from roundtrip.testing.events import Events
from roundtrip.testing.loop import Stuck, virtually


def test_hours_take_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    assert virtually(main) == pytest.approx(36_000)


def test_waiting_for_what_can_never_happen_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match="can't happen"):
        virtually(main)


def test_going_on_for_ever_without_waiting_is_an_error() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="nobody waits"):
        virtually(main)


class Cut:
    """A disk whose power is cut, many times over."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.disk = Disk(lambda: self.now, keeps_history=True)
        self.weather = Weather(Faults(), random.Random(seed), lambda: self.now)
        self.folder = self.disk.folder("f")
        self.files = self.disk.memory.files

    def put(self, name: str, content: bytes, *, durable: bool = False) -> None:
        self.files["f"][name] = content
        self.disk.note("f", "put", name, durable=durable)

    def cut(self) -> dict[str, bytes]:
        self.disk.cut_power(self.weather)
        return self.files["f"]


def test_a_power_cut_undoes_the_last_changes_in_order() -> None:
    left = set()
    for seed in range(60):
        scene = Cut(seed)
        for name in "abc":
            scene.put(name, b"content")
        left.add("".join(sorted(scene.cut())))
    assert left == {"a", "ab", "abc"}


def test_a_power_cut_undoes_nothing_before_the_last_sync() -> None:
    for seed in range(60):
        scene = Cut(seed)
        scene.put("a", b"content")
        scene.put("b", b"content", durable=True)
        scene.put("c", b"content")
        assert {"a", "b"} <= scene.cut().keys()


def test_a_power_cut_tears_what_was_not_synced_also_under_its_later_name() -> None:
    torn: Counter[str] = Counter()
    for seed in range(100):
        scene = Cut(seed)
        scene.put("synced", b"content", durable=True)
        scene.put("unsynced", b"content")
        scene.files["f"]["moved"] = scene.files["f"].pop("unsynced")
        scene.disk.note_move("f", "unsynced", "f", "moved")
        scene.disk.note("f", "move away", "unsynced", durable=True)
        files = scene.cut()
        torn.update(name for name, content in files.items() if content != b"content")
    assert torn["moved"] > 10
    assert torn["synced"] == 0


def test_content_is_safe_some_time_after_it_was_written() -> None:
    for seed in range(60):
        scene = Cut(seed)
        scene.put("a", b"content")
        scene.now += 31
        assert scene.cut()["a"] == b"content"


def heard(count: int, seed: int = 1, *, is_over: bool = False, **faults: Any) -> list[str]:
    names: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        weather = Weather(Faults(**faults), random.Random(seed), loop.time)
        weather.is_over = is_over
        events = Events(weather, lambda name, removed: names.append(name))
        for number in range(count):
            events.tell(f"{number:03}", removed=False)
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)

    virtually(main)
    return names


def test_events_get_lost_come_twice_late_or_for_another_name() -> None:
    every = [f"{number:03}" for number in range(100)]
    assert heard(100) == every
    assert len(heard(100, event_lost=0.3)) < 90
    assert len(heard(100, event_twice=0.3)) > 110
    late = heard(100, event_late=0.5)
    assert late != every and sorted(late) == every
    assert Counter(heard(100, event_false=0.5)) - Counter(every)


def test_where_both_shares_are_mounted_no_events_come() -> None:
    assert heard(20, both_mounted=True) == []


def test_events_are_reliable_once_the_faults_are_over() -> None:
    assert len(heard(100, is_over=True, event_lost=0.9)) == 100
