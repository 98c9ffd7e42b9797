"""Each kind of fault does what it says, on one folder in virtual time."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from roundtrip.shares.memory import MemoryDisk
from roundtrip.shares.verdicts import Operation, operation_of, share_of
from roundtrip.testing import Access, Fate, Faults, FaultyFolder, View, Weather
from roundtrip.testing.loop import virtually

CONTENT = b"id,country\n1,DE\n"


class Scene:
    """A share with one name, `old`, as a mounted folder that fails."""

    is_dead = False

    def __init__(self, access: Access = Access.MOUNT, seed: int = 1, **faults: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.disk = MemoryDisk()
        self.truth = self.disk.folder("share")
        self.disk.files["share"]["old"] = CONTENT
        self.changes: list[tuple[str, str]] = []
        self.died: list[bool] = []
        dice = random.Random(seed)
        self.weather = Weather(Faults(**{"latency": 0.0, **faults}), dice, self.loop.time)
        self.view = View(self.weather.faults.lag, dice, self.loop.time)
        self.folder = FaultyFolder(self.truth, access, self.weather, self, self, view=self.view)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def files(self) -> dict[str, bytes]:
        return self.disk.files["share"]

    def die(self, *, power: bool) -> None:
        self.is_dead = True
        self.died.append(power)

    def trace(self, life: object, verb: str, place: str, fate: str) -> None:
        pass

    async def changed(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        self.changes.append((verb, name))

    def moved(self, label: str, name: str, to: str, new_name: str) -> None:
        pass

    def later(self, seconds: float, act: Callable[[], Coroutine[None, None, None]]) -> None:
        self.loop.call_later(seconds, lambda: self._tasks.append(self.loop.create_task(act())))


def on_stage(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtually(play)


async def failure_of(act: Awaitable[object]) -> OSError:
    with pytest.raises(OSError) as caught:
        await act
    return caught.value


def test_an_error_before_has_no_effect_and_names_the_share() -> None:
    async def play() -> None:
        scene = Scene(before=1.0)
        error = await failure_of(scene.folder.put("new", CONTENT))
        assert share_of(error) == "share"
        assert operation_of(error) is Operation.RENAME
        await failure_of(scene.folder.remove("old"))
        await failure_of(scene.folder.stat("old"))
        await failure_of(scene.folder.names())
        assert scene.files == {"old": CONTENT}
        assert scene.changes == []

    on_stage(play)


def test_a_lost_reply_has_its_effect() -> None:
    async def play() -> None:
        scene = Scene(after=1.0)
        await failure_of(scene.folder.put("new", CONTENT))
        await failure_of(scene.folder.remove("old"))
        assert scene.files == {"new": CONTENT}
        assert scene.changes == [("put", "new"), ("remove", "old")]

    on_stage(play)


def test_a_lost_reply_may_be_what_a_repeated_request_finds() -> None:
    async def play() -> None:
        numbers = set()
        for seed in range(60):
            scene = Scene(seed=seed, after=1.0)
            numbers.add((await failure_of(scene.folder.put("new", CONTENT))).errno)
        assert {errno.EEXIST, errno.ENOENT, errno.EIO, errno.ESTALE} <= numbers

    on_stage(play)


def test_a_late_effect_times_out_and_lands_later() -> None:
    async def play() -> None:
        scene = Scene(late=1.0, late_by=30.0)
        error = await failure_of(scene.folder.put("new", CONTENT))
        assert error.errno in (errno.ETIMEDOUT, errno.EIO)
        assert "new" not in scene.files
        await failure_of(scene.folder.remove("old"))
        assert "old" in scene.files
        await asyncio.sleep(31)
        assert scene.files == {"new": CONTENT}
        assert sorted(scene.changes) == [("put", "new"), ("remove", "old")]

    on_stage(play)


def test_a_late_put_replaces_what_came_meanwhile_or_not() -> None:
    async def play() -> None:
        ends = set()
        for seed in range(20):
            scene = Scene(seed=seed, late=1.0, late_by=10.0)
            await failure_of(scene.folder.put("new", b"first"))
            scene.files["new"] = b"second"
            await asyncio.sleep(11)
            ends.add(scene.files["new"])
        assert ends == {b"first", b"second"}

    on_stage(play)


def test_a_partial_put_leaves_its_in_flight_file() -> None:
    async def play() -> None:
        scene = Scene(partial=1.0)
        await failure_of(scene.folder.put("new", CONTENT))
        (left,) = scene.files.keys() - {"old"}
        assert left.startswith(".new.") and left.endswith(".part")
        assert CONTENT.startswith(scene.files[left]) and scene.files[left] != CONTENT

    on_stage(play)


def test_a_torn_put_reports_success_and_the_digest_it_should_have() -> None:
    async def play() -> None:
        found = set()
        for seed in range(40):
            scene = Scene(seed=seed, torn=1.0)
            digest = await scene.folder.put("new", CONTENT)
            assert digest.size == len(CONTENT)
            assert scene.files["new"] != CONTENT
            found.add((len(scene.files["new"]), scene.files["new"].count(0) > 0))
        assert (0, False) in found  # empty
        assert (len(CONTENT), True) in found  # NULs
        assert (len(CONTENT), False) in found  # a wrong byte
        assert any(0 < size < len(CONTENT) for size, _ in found)  # cut off

    on_stage(play)


def test_a_slow_put_is_complete_in_the_end() -> None:
    async def play() -> None:
        scene = Scene(slow=1.0, slow_by=5.0)
        await scene.folder.put("new", CONTENT)
        assert scene.files["new"] != CONTENT
        await asyncio.sleep(6)
        assert scene.files["new"] == CONTENT

    on_stage(play)


def test_the_rest_of_a_slow_put_never_lands_in_another_file() -> None:
    async def play() -> None:
        scene = Scene(slow=1.0, slow_by=5.0)
        await scene.folder.put("new", CONTENT)
        scene.files["new"] = b"another"
        await asyncio.sleep(6)
        assert scene.files["new"] == b"another"

    on_stage(play)


def test_a_torn_read_is_wrong_once_and_leaves_the_file_alone() -> None:
    async def play() -> None:
        scene = Scene(Access.HOME, torn_read=0.5)
        reads = {await scene.folder.read("old", 1000) for _ in range(40)}
        assert CONTENT in reads and len(reads) > 1
        with await scene.folder.open("old") as payload:
            assert payload.content is not None
            assert payload.size == len(payload.content)
        assert scene.files["old"] == CONTENT

    on_stage(play)


def test_a_full_disk_refuses_what_takes_room_until_it_is_over() -> None:
    async def play() -> None:
        scene = Scene(full_every=10.0, full_for=50.0)
        refused, done = 0, 0
        for number in range(200):
            await asyncio.sleep(1)
            try:
                await scene.folder.put(f"n{number}", CONTENT)
                done += 1
            except OSError as error:
                assert error.errno == errno.ENOSPC
                await scene.folder.stat("old")
                refused += 1
        assert refused > 20 and done > 20
        scene.weather.is_over = True
        await scene.folder.put("new", CONTENT)

    on_stage(play)


def test_a_full_disk_is_sometimes_seen_in_its_figures_and_sometimes_not() -> None:
    async def play() -> None:
        scene = Scene(full_every=5.0, full_for=20.0)
        seen = set()
        for _ in range(300):
            await asyncio.sleep(1)
            is_full = scene.weather.is_full()
            seen.add((is_full, (await scene.folder.space()).free == 0))
        assert seen == {(False, False), (True, True), (True, False)}

    on_stage(play)


def test_a_cut_mount_fails_hangs_or_is_given_up_and_works_again() -> None:
    async def play() -> None:
        scene = Scene(cut_every=20.0, cut_for=60.0)
        took, failed = set(), 0
        for _ in range(300):
            began = scene.loop.time()
            try:
                await scene.folder.stat("old")
            except OSError:
                failed += 1
            took.add(round(scene.loop.time() - began))
            await asyncio.sleep(1)
        assert failed > 10
        assert 10 in took  # given up
        assert max(took) > 10  # hung until the link was back
        scene.weather.is_over = True
        assert await scene.folder.stat("old")

    on_stage(play)


def test_a_cut_does_not_concern_the_own_disk() -> None:
    async def play() -> None:
        scene = Scene(Access.HOME, cut_every=1.0, cut_for=60.0)
        for _ in range(50):
            await asyncio.sleep(1)
            assert await scene.folder.stat("old")

    on_stage(play)


@pytest.mark.parametrize("fate", [Fate.KILL_BEFORE, Fate.KILL_DURING, Fate.KILL_AFTER])
def test_a_death_ends_the_call_at_that_moment_and_every_later_one(
    fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Weather, "fate", lambda *args, **kwargs: fate)

    async def play() -> None:
        scene = Scene()
        with pytest.raises(asyncio.CancelledError):
            await scene.folder.put("new", CONTENT)
        assert scene.died == [False]
        names = {name for name in scene.files if name != "old"}
        assert (names == {"new"}) is (fate is Fate.KILL_AFTER)
        assert bool(names) is (fate is not Fate.KILL_BEFORE)
        for act in (scene.folder.names(), scene.folder.remove("old")):
            with pytest.raises(asyncio.CancelledError):
                await act
        assert "old" in scene.files

    on_stage(play)


def test_a_stale_view_shows_names_late_and_keeps_them_late_but_converges() -> None:
    async def play() -> None:
        late = kept = 0
        for seed in range(30):
            scene = Scene(seed=seed, lag=20.0)
            assert await scene.folder.stat("new") is None
            assert await scene.folder.stat("old") is not None
            scene.files["new"] = CONTENT
            del scene.files["old"]
            late += await scene.folder.stat("new") is None
            kept += await scene.folder.stat("old") is not None
            await asyncio.sleep(21)
            assert await scene.folder.stat("new") is not None
            assert await scene.folder.stat("old") is None
        assert late > 20 and kept > 20

    on_stage(play)


def test_listing_and_stat_may_disagree() -> None:
    async def play() -> None:
        disagreed = 0
        for seed in range(30):
            scene = Scene(seed=seed, lag=20.0)
            await scene.folder.names()
            scene.files["new"] = CONTENT
            there = await scene.folder.stat("new") is not None
            disagreed += there and "new" not in await scene.folder.names()
        assert disagreed > 10

    on_stage(play)


def test_a_host_sees_its_own_changes_at_once() -> None:
    async def play() -> None:
        scene = Scene(lag=50.0)
        await scene.folder.names()
        assert await scene.folder.stat("new") is None
        await scene.folder.put("new", CONTENT)
        assert await scene.folder.stat("new") is not None
        assert "new" in await scene.folder.names()
        await scene.folder.remove("new")
        assert await scene.folder.stat("new") is None
        assert "new" not in await scene.folder.names()

    on_stage(play)


def test_reading_what_is_believed_to_be_there_but_has_gone_is_estale() -> None:
    async def play() -> None:
        scene = Scene(lag=50.0)
        await scene.folder.stat("old")
        del scene.files["old"]
        assert (await failure_of(scene.folder.read("old", 100))).errno == errno.ESTALE
        assert (await failure_of(scene.folder.read("old", 100))).errno == errno.ENOENT

    on_stage(play)


def test_when_the_weather_is_over_nothing_fails_any_more() -> None:
    async def play() -> None:
        scene = Scene(before=0.3, after=0.3, late=0.1, partial=0.1, torn=0.1, kill=0.1)
        scene.weather.is_over = True
        for number in range(100):
            await scene.folder.put(f"n{number}", CONTENT)
            assert await scene.folder.remove(f"n{number}")

    on_stage(play)
