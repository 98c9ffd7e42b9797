"""How much may be under way at once: the window, the entrance, the room on a disk."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from roundtrip.protocol.names import marker_of
from roundtrip.roles.admission import Admission, InFlight
from roundtrip.roles.entrance import Entrance
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.line import Parked, Waiting, fitting
from roundtrip.roles.room import Room
from roundtrip.roles.space import Disk, in_words, need_of
from roundtrip.roles.window import Window
from roundtrip.shares.memory import MemoryDisk
from roundtrip.shares.port import Entry, Kind, Space
from roundtrip.testing.loop import virtually
from tests.roles.world import Clock, World

KI = 1024


# The window: (in flight, asks with sizes) with 3 exchanges and 100 bytes at most


@pytest.mark.parametrize(
    ("in_flight", "size", "enters"),
    [
        ([], 100, True),
        ([], 101, True),  # One may always be, however large.
        ([50], 50, True),
        ([50], 51, False),
        ([1, 1], 1, True),
        ([1, 1, 1], 1, False),
        ([101], 1, False),
    ],
)
def test_an_exchange_enters_while_both_limits_hold(
    in_flight: list[int], size: int, enters: bool
) -> None:
    window = Window(3, 100)
    for number, each in enumerate(in_flight):
        window.resume(str(number), each)
    assert window.enter("new", size) is enters
    assert window.waiting == (not enters)


def window_at_work(sizes: dict[str, int], exchanges: int = 3, size: int = 100) -> list[str]:
    """In which order exchanges get their places if the oldest in flight is answered next."""
    window, order = Window(exchanges, size), list[str]()
    window.line_up(sizes)
    while window.waiting or window.in_flight:
        for name in window.call():
            if window.enter(name, sizes[name]):
                order.append(name)
            window.release(name)
        assert len(window.in_flight) <= exchanges
        assert window.bytes <= size or len(window.in_flight) == 1
        window.leave(min(window.in_flight))
    assert window.bytes == 0
    return order


def test_exchanges_get_their_places_in_the_order_of_their_names() -> None:
    sizes = {f"{number:04}": 10 for number in reversed(range(500))}
    assert window_at_work(sizes) == sorted(sizes)


def test_a_large_one_steps_aside_and_no_more_than_may_be_in_flight_pass_it() -> None:
    sizes = {f"{number:02}": 30 for number in range(20)} | {"02": 90}
    order = window_at_work(sizes)
    assert order[:3] == ["00", "01", "03"]
    assert 2 < order.index("02") <= 2 + 3
    assert sorted(order) == sorted(sizes)


def test_many_large_ones_neither_starve_nor_pile_up() -> None:
    sizes = {f"{number:04}": 80 if number % 2 else 30 for number in range(400)}
    order = window_at_work(sizes)
    assert sorted(order) == sorted(sizes)
    late = max(order.index(name) - int(name) for name in sizes)
    assert late < 64 * 3


def test_one_that_waits_is_not_called_twice_and_needs_no_look() -> None:
    window = Window(1, 100)
    assert window.enter("a", 1)
    assert not window.may_ask("b")
    assert not window.may_ask("b")
    assert window.call() == []
    window.leave("a")
    assert window.call() == ["b"]
    assert window.call() == []


def test_one_that_was_called_and_has_gone_makes_place_for_the_next() -> None:
    window = Window(1, 100)
    window.line_up(["a", "b"])
    assert window.call() == ["a"]
    window.leave("a")
    assert window.call() == ["b"]


def test_those_that_wait_and_are_cancelled_are_forgotten() -> None:
    window = Window(1, 100)
    window.resume("a", 1)
    window.line_up(["b", "c"])
    window.leave("b")
    assert window.waiting == 1
    window.leave("a")
    assert window.call() == ["c"]


# Room


@pytest.mark.parametrize(
    ("size", "need"), [(0, 8 * KI), (1, 12 * KI), (4096, 12 * KI), (4097, 16 * KI)]
)
def test_a_file_needs_whole_blocks_and_some_for_its_marker(size: int, need: int) -> None:
    assert need_of(size) == need


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"),
     (2**52, "4096.0 TiB")],
)  # fmt: skip
def test_sizes_are_told_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


@pytest.mark.parametrize(
    ("needs", "free", "fit"),
    [
        ({}, 100, []),
        ({"a": 10}, 59, []),  # 50 stay free.
        ({"a": 10}, 60, ["a"]),
        ({"b": 10, "a": 10}, 79, ["a", "b"]),
        ({"b": 10, "a": 10}, 69, ["a"]),
        ({"a": 500, "b": 10}, 70, ["b"]),  # A large one holds nobody up.
        ({"a": 500, "b": 10}, 560, ["a", "b"]),
    ],
)
def test_those_that_fit_one_after_the_other_are_called_in_order(
    needs: dict[str, int], free: int, fit: list[str]
) -> None:
    waiting = {name: Waiting(need, 50, lambda name: None) for name, need in needs.items()}
    assert fitting(waiting, free) == fit


class Place:
    """A room on a disk in memory, and what it wakes."""

    def __init__(self, reserve: int = 1000 * KI, free: int = 2**40) -> None:
        self.disk = MemoryDisk()
        self.disk.space = Space(free, 2**41)
        self.health = Health()
        self.clock = Clock()
        self.woken: list[str] = []
        folder = self.folder = self.disk.folder("far")
        self.asked = 0
        space = folder.space

        async def counted() -> Space:
            self.asked += 1
            return await space()

        folder.space = counted  # type: ignore[method-assign]
        disk = Disk("far", "exchanges")
        self.room = Room(disk, folder, reserve, self.health, self.woken.append, self.clock)

    async def write(self, name: str, size: int, error: OSError | None = None) -> bool:
        """Whether a file could be written."""
        try:
            async with self.room.claim(name, size):
                if error is not None:
                    raise error
        except Parked:
            return False
        return True

    def set_free(self, free: int) -> None:
        self.disk.space = Space(free, 2**41)

    async def until_woken(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while sorted(self.woken) != sorted(names):
                await asyncio.sleep(0.01)
        self.woken.clear()


async def test_what_would_take_the_reserve_waits_and_is_woken_when_there_is_room() -> None:
    place = Place(free=1100 * KI)
    assert await place.write("a", 80 * KI)
    place.set_free(1020 * KI)
    assert not await place.write("b", 80 * KI)
    (told,) = place.health.conditions()
    assert told.key == "space.far" and told.severity is Severity.ALARM
    assert "far: 1020.0 KiB of 2.0 TiB free, and limits.reserve keeps 1000.0 KiB" in told.text
    place.set_free(2000 * KI)
    place.room.stir()
    await place.until_woken("b")
    assert await place.write("b", 80 * KI)
    place.room.stop()


async def test_what_is_written_counts_although_the_disk_is_not_asked_each_time() -> None:
    place = Place(reserve=0, free=100_000 * KI)
    for number in range(100):
        assert await place.write(str(number), 4 * KI)
    assert place.asked == 1
    place.clock.now += 1
    assert await place.write("later", 4 * KI)
    assert place.asked == 2


async def test_near_the_reserve_the_disk_is_asked_again() -> None:
    place = Place(free=1100 * KI)
    assert await place.write("a", 4 * KI)
    place.set_free(1000 * KI)  # Somebody else has written, too.
    assert not await place.write("b", 4 * KI)
    place.room.stop()


async def test_what_is_being_written_counts() -> None:
    place = Place(free=1500 * KI)
    async with place.room.claim("a", 400 * KI):
        assert not await place.write("b", 400 * KI)
    place.room.stop()


async def test_those_behind_one_that_waits_cost_no_look_at_the_disk() -> None:
    place = Place(free=1000 * KI)
    for number in range(1000):
        assert not await place.write(f"{number:04}", 4 * KI)
    assert place.asked <= 2
    place.set_free(2**40)
    place.room.stir()
    await place.until_woken(*(f"{number:04}" for number in range(1000)))
    place.room.stop()


async def test_a_small_one_passes_a_large_one_that_waits() -> None:
    place = Place(free=1100 * KI)
    assert not await place.write("large", 5000 * KI)
    assert not place.room.is_short
    assert await place.write("small", 4 * KI)
    place.room.stop()


async def test_who_finishes_may_use_half_of_the_reserve() -> None:
    place = Place(free=600 * KI)
    assert not await place.write("new", 4 * KI)
    async with place.room.claim("answer", 4 * KI, finishing=True):
        pass
    with pytest.raises(Parked):
        await place.room.ask("large", 100 * KI, finishing=True)
    place.room.stop()


async def test_a_disk_that_does_not_tell_its_size_is_written_to() -> None:
    """FUSE file systems without statfs say 0 of 0."""
    place = Place()
    place.disk.space = Space(0, 0)
    assert await place.write("a", 4 * KI)


@pytest.mark.parametrize(
    ("number", "fails"), [(errno.ENOSYS, False), (errno.EOPNOTSUPP, False), (errno.EIO, True)]
)
async def test_a_disk_that_can_not_be_asked_is_written_to_unless_it_is_in_trouble(
    number: int, fails: bool
) -> None:
    place = Place()

    async def refused() -> Space:
        raise OSError(number, os.strerror(number))

    place.folder.space = refused  # type: ignore[method-assign]
    if fails:
        with pytest.raises(OSError, match="Input/output"):
            await place.write("a", 1)
    else:
        assert await place.write("a", 1)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
async def test_after_a_refusal_one_tries_and_each_success_lets_two_more_try(number: int) -> None:
    place = Place()
    refusal = OSError(number, os.strerror(number))
    assert not await place.write("0", 1, refusal)
    for name in "123456":
        assert not await place.write(name, 1)
    await place.until_woken("0")
    (told,) = place.health.conditions()
    assert f"writing is refused ({os.strerror(number)})" in told.text
    assert await place.write("0", 1)
    await place.until_woken("1", "2")
    assert await place.write("1", 1)
    assert await place.write("2", 1)
    await place.until_woken("3", "4", "5", "6")
    place.room.stop()


def test_those_that_need_two_disks_go_on_once_both_take_files_again() -> None:
    """Each disk calls who waits there; a wait for the other disk must not cost that turn."""
    assert virtually(two_disks_that_refused) < 10


async def two_disks_that_refused() -> float:
    """Two files need both disks, which have refused once; the seconds until both are written."""
    loop = asyncio.get_running_loop()
    due, written, disk = set[str](), set[str](), MemoryDisk()
    away, home = (
        Room(Disk(label, ""), disk.folder(label), 0, Health(), due.add, loop.time)
        for label in ("away", "home")
    )

    async def write(name: str) -> None:
        await away.ask(name, 1, claims=True)
        async with home.claim(name, 1):
            pass
        async with away.claim(name, 1):
            written.add(name)

    for room, name in ((home, "x"), (away, "y")):
        with suppress(Parked):
            async with room.claim(name, 1):
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
    while len(written) < 2 and loop.time() < 3600:
        await asyncio.sleep(0.1)
        for name in sorted(due):
            due.discard(name)
            with suppress(Parked):
                await write(name)
    away.stop()
    home.stop()
    return loop.time()


async def test_an_error_that_is_not_about_room_is_the_callers() -> None:
    place = Place()
    with pytest.raises(OSError, match="Input/output"):
        await place.write("a", 1, OSError(errno.EIO, "Input/output error"))
    assert await place.write("b", 1)


async def test_a_low_disk_is_told_of_before_anybody_needs_it() -> None:
    place = Place(free=10)
    await place.room.check()
    assert place.health.holds("space.far")
    place.room.stop()


# The entrance


class Outbox:
    """Files that ask for entry, by age, and what has been let in."""

    def __init__(self, limit: int | None, free: int = 2**40) -> None:
        self.place = Place(free=free)
        self.entrance = Entrance(limit, self.place.room, self.place.health)
        self.woken: list[str] = []
        self.entrance.wake = self.woken.append
        self.taken: list[str] = []

    async def ask(self, key: str, size: int, age: int = 0) -> bool:
        if not await self.entrance.enter(key, Entry(Kind.FILE, size, -age)):
            self.entrance.left(key)
            return False
        self.taken.append(key)
        self.entrance.entered(key, f"exchange of {key}")
        self.entrance.left(key)
        return True

    def answer(self, key: str) -> None:
        self.entrance.answered(f"exchange of {key}")


async def test_files_stay_outside_above_the_limit_and_the_oldest_is_next() -> None:
    box = Outbox(100)
    assert await box.ask("a", 60)
    assert not await box.ask("young", 50, age=1)
    assert not await box.ask("old", 50, age=2)
    assert box.woken == []
    assert box.place.health.holds("pending")
    box.answer("a")
    assert box.woken == ["old", "young"]
    assert await box.ask("old", 50)
    assert await box.ask("young", 50)


async def test_one_file_may_always_be_taken_in_if_nothing_is_pending() -> None:
    box = Outbox(100)
    assert await box.ask("huge", 1000)
    assert not await box.ask("small", 1)


async def test_a_file_that_has_gone_holds_nobody_up() -> None:
    box = Outbox(100)
    assert await box.ask("a", 100)
    assert not await box.ask("gone", 100, age=2)
    assert not await box.ask("b", 100, age=1)
    box.answer("a")
    assert box.woken[0] == "gone"
    box.entrance.left("gone")
    assert "b" in box.woken


async def test_files_stay_outside_while_the_disk_is_low_and_nobody_asks_it_for_each() -> None:
    box = Outbox(None, free=10)
    for number in range(100):
        assert not await box.ask(f"{number:03}", 1, age=-number)
    assert box.place.asked <= 2
    box.place.set_free(2**40)
    box.place.room.stir()
    async with asyncio.timeout(10):
        while len(box.taken) < 100:
            for key in list(box.woken):
                box.woken.remove(key)
                await box.ask(key, 1)
            await asyncio.sleep(0.01)
    assert box.taken == sorted(box.taken)
    box.place.room.stop()


# Both in a requester


def limited(world: World, **limits: int) -> Callable[[], Awaitable[None]]:
    """Gives the world's A limits, and starts it."""
    health = Health()

    def wake(name: str) -> None:
        world.wake(name)

    def room(folder: str) -> Room:
        where = world.disk.folder(folder)
        return Room(Disk(folder, ""), where, 0, health, wake, world.clock)

    async def start() -> None:
        world.start("a")
        home = room("a/pending")
        world.roles["a"]._admission = Admission(
            InFlight(**limits),
            away=room("unenriched"),
            home=home,
            entrance=Entrance(None, home, health),
            health=health,
            wake=wake,
        )
        await world.roles["a"].start()

    return start


def names_of(count: int) -> list[str]:
    return [f"01ARZ3NDEKTSV4RRFFQ69G{number:04}-x.csv" for number in range(count)]


async def test_a_rescan_looks_at_none_that_waits() -> None:
    world, woken = World(), list[str]()
    world.wake = woken.append
    names = names_of(1000)
    for name in names:
        world.want(name)
    await limited(world, exchanges=10)()
    a = world.roles["a"]
    due = await a.rescan()
    for name in [*woken, *due]:
        await a.look(name)
    marked = [name for name in names if marker_of(name) in world.files("unenriched")]
    assert marked == names[:10]
    woken.clear()
    assert await a.rescan() == []
    assert woken == []
    a.stop()


async def test_what_an_earlier_life_published_counts_and_is_looked_at_again() -> None:
    world = World()
    for name in names_of(20):
        world.want(name)
    start = limited(world, exchanges=5)
    for _ in range(2):
        await start()
        a = world.roles["a"]
        woken = list[str]()
        world.wake = woken.append
        for name in await a.rescan():
            await a.look(name)
        for name in woken:
            await a.look(name)
        assert len(world.files("unenriched")) == 10
        a.stop()


async def test_a_cancelled_exchange_gives_its_place_to_the_next() -> None:
    world, woken = World(), list[str]()
    world.wake = woken.append
    first, second = names_of(2)
    for name in (first, second):
        world.want(name)
    await limited(world, exchanges=1)()
    a = world.roles["a"]
    await a.rescan()
    await a.look(first)
    await a.look(second)
    assert set(world.files("unenriched")) == {first, marker_of(first)}
    woken.clear()
    world.roles["a"].pending.discard(first)
    await a.look(first)
    assert woken == [second]
    await a.look(second)
    assert set(world.files("unenriched")) == {second, marker_of(second)}
    a.stop()
