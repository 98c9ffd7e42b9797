"""The runner of a delivery, by a virtual clock: when it tries, when it gives up, whom it spares."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from roundtrip.deliver.entry import Entry, decode, file_of
from roundtrip.deliver.notes import Disk
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.runner import Runner
from roundtrip.deliver.settings import DeliverySettings, ExecSettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.shares.memory import MemoryDisk
from roundtrip.testing.loop import virtually

BEGAN = 1.7e9
SETTINGS = DeliverySettings("tell", ExecSettings(("true",)), expire=1000.0, timeout=30.0)


def entry_of(number: int = 0, **more: Any) -> Entry:
    entry = Entry(
        exchange=f"01ARZ3NDEKTSV4RRFFQ69G5F{number:02d}-orders.json",
        outcome="enriched",
        original_name="orders.json",
        path="/inbox/orders.json",
        size=2,
        sha256="",
        created="",
        ended="",
        queued=BEGAN,
    )
    return replace(entry, **more)


class Receiver:
    """A delivery that a test tells what to do; notes what it got, and when."""

    def __init__(self, act: Callable[[Parcel], Awaitable[None]] | None = None) -> None:
        self.act = act
        self.got: list[tuple[float, str, int]] = []
        self.closed = False

    async def deliver(self, parcel: Parcel) -> None:
        now = round(asyncio.get_running_loop().time(), 3)
        self.got.append((now, parcel.exchange[24:26], parcel.attempt))
        if self.act is not None:
            await self.act(parcel)

    async def aclose(self) -> None:
        self.closed = True


class Bench:
    """A shelf in memory and its runner, which may have several lives."""

    def __init__(self, settings: DeliverySettings = SETTINGS) -> None:
        self.settings = settings
        self.disk = MemoryDisk()
        self.shelf = Shelf(self.disk.folder("due"), self.disk.folder("dead"))
        self.troubles: list[str | None] = []

    def put(self, *entries: Entry) -> None:
        for entry in entries:
            self.disk.files["due"][file_of(entry.exchange)] = entry.encode()
            self.disk.files["due"]["~" + entry.exchange] = b"{}"

    async def life(self, receiver: Receiver, seconds: float, disk: Disk | None = None) -> Runner:
        loop = asyncio.get_running_loop()
        runner = Runner(
            self.settings, self.shelf, Path("/due"), lambda: receiver,
            trouble=self.troubles.append, now=lambda: BEGAN + loop.time(), dice=random.Random(1),
            disk=disk,
        )  # fmt: skip
        runner.start()
        for exchange in await self.shelf.entries():
            runner.push(exchange)
        await self.shelf.drop_orphans()
        await asyncio.sleep(seconds)
        await runner.stop()
        return runner

    def entry(self, number: int = 0) -> Entry | None:
        return asyncio.run(self.shelf.read(entry_of(number).exchange))

    def dead(self, number: int = 0) -> Entry | None:
        return asyncio.run(self.shelf.read_dead(entry_of(number).exchange))


def failing(*failures: Exception, then: Callable[[], Exception | None] = lambda: None) -> Receiver:
    left = list(failures)

    async def act(parcel: Parcel) -> None:
        failure = left.pop(0) if left else then()
        if failure is not None:
            raise failure

    return Receiver(act)


def passing(text: str = "not now", **more: Any) -> Undelivered:
    return Undelivered(True, text, **more)


def run(bench: Bench, receiver: Receiver, seconds: float, disk: Disk | None = None) -> Runner:
    async def main() -> Runner:
        return await bench.life(receiver, seconds, disk)

    return virtually(main)


def test_what_is_delivered_is_gone_with_its_content() -> None:
    bench, receiver = Bench(), Receiver()
    bench.put(entry_of(1), entry_of(2))
    runner = run(bench, receiver, 1.0)
    assert [number for _, number, _ in receiver.got] == ["01", "02"]
    assert bench.disk.files == {"due": {}, "dead": {}}
    assert runner.notes.count.delivered == 2
    assert receiver.closed


def test_a_failed_delivery_is_tried_again_with_growing_pauses() -> None:
    bench, receiver = Bench(), failing(then=passing)
    bench.put(entry_of())
    run(bench, receiver, 120.0)
    times = [when for when, _, _ in receiver.got]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for number, pause in enumerate(pauses):
        assert 0.5 * 2**number <= pause <= 2**number + 0.1
    assert len(pauses) >= 5
    assert len({round(pause / 2**n, 3) for n, pause in enumerate(pauses)}) > 1, "no jitter"
    assert [attempt for _, _, attempt in receiver.got] == list(range(1, len(times) + 1))


def test_attempts_and_pauses_go_on_after_a_restart() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing("come back later"))
    bench.put(entry_of())
    run(bench, receiver, 20.0)
    before = bench.entry()
    assert before is not None
    assert before.attempts == len(receiver.got) >= 4
    assert before.error == "come back later"
    assert before.next is not None
    again = Receiver()
    left = before.next - BEGAN  # the next life's clock begins at 0
    run(bench, again, left + 1)
    assert again.got == [(pytest.approx(left, abs=0.1), "00", before.attempts + 1)]


def test_what_will_never_be_delivered_is_dead_at_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.put(entry_of())
    run(bench, failing(Undelivered(False, "no such mailbox")), 1.0)
    dead = bench.dead()
    assert dead is not None
    assert (dead.attempts, dead.error) == (1, "no such mailbox")
    assert set(bench.disk.files["dead"]) == {"~" + dead.exchange, file_of(dead.exchange)}
    assert bench.disk.files["due"] == {}
    assert [record.message for record in caplog.records] == ["delivery dead"]


def test_what_is_not_delivered_in_time_is_dead() -> None:
    bench, receiver = Bench(), failing(then=passing)
    bench.put(entry_of())
    run(bench, receiver, 2500.0)
    dead = bench.dead()
    assert dead is not None
    assert dead.error == "expired: not now"
    assert receiver.got[-1][0] >= 1000.0
    assert receiver.got[-2][0] < 1000.0


def test_what_was_due_before_the_host_was_off_gets_one_attempt_at_least() -> None:
    bench, receiver = Bench(), Receiver()
    bench.put(entry_of(queued=BEGAN - 1e6))
    run(bench, receiver, 1.0)
    assert len(receiver.got) == 1
    assert bench.dead() is None


def test_a_receiver_that_is_away_is_not_asked_with_every_parcel() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing(away=True))
    bench.put(*map(entry_of, range(50)))
    run(bench, receiver, 100.0)
    assert len(receiver.got) <= 12
    assert bench.troubles.count("not now") == len(receiver.got)
    back = Receiver()
    run(bench, back, 100.0)
    assert len(back.got) == 50
    assert bench.troubles[-1] is None


def test_the_first_success_ends_the_pause_of_all() -> None:
    bench, receiver = Bench(), failing(*[passing(away=True) for _ in range(6)])
    bench.put(*map(entry_of, range(20)))
    run(bench, receiver, 60.0)
    assert bench.disk.files["due"] == {}
    first, probes, others = receiver.got[:4], receiver.got[4:7], receiver.got[7:]
    assert [when for when, _, _ in first] == [0.0] * 4, "as many at once as are allowed"
    assert len({when for when, _, _ in probes}) == 3, "one at a time while it is away"
    assert {when for when, _, attempt in others if attempt == 1} == {probes[-1][0]}


def test_while_the_receiver_is_away_nothing_waits_longer_than_its_time() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing("gone", away=True))
    bench.put(*map(entry_of, range(50)))
    run(bench, receiver, 3000.0)
    assert bench.disk.files["due"] == {}
    assert all((entry := bench.dead(number)) and "gone" in str(entry.error) for number in range(50))


def test_the_receiver_s_own_pause_is_kept_within_bounds() -> None:
    bench, receiver = Bench(), failing(passing(after=100.0), passing(after=1e9))
    bench.put(entry_of())
    run(bench, receiver, 900.0)
    times = [when for when, _, _ in receiver.got]
    assert times[1] >= 100.0
    assert times[2] - times[1] == pytest.approx(600.0, abs=1.0)


def test_one_that_hangs_is_ended_and_does_not_delay_the_others() -> None:
    async def hang(parcel: Parcel) -> None:
        if "00-" in parcel.exchange:
            await asyncio.sleep(1e9)

    bench, receiver = Bench(), Receiver(hang)
    bench.put(*map(entry_of, range(10)))
    run(bench, receiver, 20.0)
    assert len(receiver.got) == 10
    assert max(when for when, _, _ in receiver.got) == 0.0
    hung = bench.entry(0)
    assert hung is not None
    assert hung.attempts == 0, "the agent has ended before: it stays due as it was"
    run(bench, receiver, 31.0)
    hung = bench.entry(0)
    assert hung is not None
    assert hung.error == "no end within 30 s"


def test_only_so_many_are_tried_at_once() -> None:
    at_once: list[int] = []
    now = 0

    async def count(parcel: Parcel) -> None:
        nonlocal now
        now += 1
        at_once.append(now)
        await asyncio.sleep(1.0)
        now -= 1

    bench = Bench(replace(SETTINGS, concurrency=3))
    bench.put(*map(entry_of, range(10)))
    run(bench, Receiver(count), 10.0)
    assert len(at_once) == 10
    assert max(at_once) == 3


def test_an_adapter_s_defect_is_a_failure_like_another() -> None:
    bench = Bench()
    bench.put(entry_of())
    run(bench, failing(KeyError("oh\nno")), 0.4)
    entry = bench.entry()
    assert entry is not None
    assert entry.error == "KeyError: 'oh\\nno'"


def test_what_somebody_has_dropped_is_not_delivered() -> None:
    bench, receiver = Bench(), Receiver()

    async def main() -> None:
        runner = Runner(SETTINGS, bench.shelf, Path("/due"), lambda: receiver)
        runner.push(entry_of().exchange)
        runner.start()
        await asyncio.sleep(1.0)
        await runner.stop()

    virtually(main)
    assert receiver.got == []


def test_an_entry_that_cannot_be_read_is_told_and_left(caplog: pytest.LogCaptureFixture) -> None:
    bench, receiver = Bench(), Receiver()
    bench.put(entry_of(1))
    bench.disk.files["due"][file_of(entry_of(0).exchange)] = b"{half"
    run(bench, receiver, 1.0)
    assert len(receiver.got) == 1
    assert file_of(entry_of(0).exchange) in bench.disk.files["due"]
    assert [record.message for record in caplog.records] == ["delivery unreadable"]


class Death(BaseException):
    """SIGKILL."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("outcome", [None, passing(), Undelivered(False, "never")])
def test_killed_between_any_two_steps_nothing_is_forgotten(
    number: int, moment: str, outcome: Undelivered | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Each mutation of the queue is a place to die at; the next life finishes what was begun."""
    caplog.set_level(logging.CRITICAL)
    bench = Bench()
    bench.put(entry_of())
    seen: list[str] = []

    async def guard(when: str, operation: str) -> None:
        if when == "before":
            seen.append(operation)
        if when == moment and len(seen) == number + 1:
            raise Death

    async def die() -> None:
        bench.disk.guard = guard
        receiver = failing() if outcome is None else failing(outcome)
        loop = asyncio.get_running_loop()
        runner = Runner(
            SETTINGS, bench.shelf, Path("/due"), lambda: receiver,
            now=lambda: BEGAN + loop.time(),
        )  # fmt: skip
        await bench.shelf.entries()
        with contextlib.suppress(Death):
            await runner._try(entry_of().exchange)
        assert len(receiver.got) == 1

    virtually(die)

    async def nothing(when: str, operation: str) -> None:
        """The next life lives."""

    bench.disk.guard = nothing
    again = Receiver()
    run(bench, again, 10.0)
    is_dead = bench.dead() is not None
    assert bench.disk.files["due"] == {} or not seen
    if outcome is not None:
        assert is_dead != bool(again.got), "dead, or delivered by the next life"
    if is_dead:
        assert set(bench.disk.files["dead"]) == {
            file_of(entry_of().exchange), "~" + entry_of().exchange,
        }  # fmt: skip


def test_what_was_dead_is_delivered_after_all_when_somebody_asks() -> None:
    bench = Bench()
    bench.put(entry_of())
    run(bench, failing(Undelivered(False, "no such mailbox")), 1.0)
    assert asyncio.run(bench.shelf.exhume(entry_of().exchange, BEGAN))
    receiver = Receiver()
    run(bench, receiver, 1.0)
    assert receiver.got == [(0.0, "00", 1)]
    assert bench.disk.files == {"due": {}, "dead": {}}


def test_a_refusal_says_that_the_receiver_is_there() -> None:
    """While it is away, one parcel is a probe; that one may be refused for good."""
    bench = Bench()
    receiver = failing(*[passing(away=True) for _ in range(4)], Undelivered(False, "no such box"))
    bench.put(*map(entry_of, range(10)))
    run(bench, receiver, 15.0)
    assert bench.disk.files["due"] == {}
    dead = [entry for number in range(10) if (entry := bench.dead(number))]
    assert [entry.error for entry in dead] == ["no such box"]
    assert bench.troubles[-1] is None


def test_what_was_dropped_while_it_was_tried_does_not_come_back() -> None:
    bench = Bench()
    bench.put(entry_of())

    async def drop(parcel: Parcel) -> None:
        await bench.shelf.remove(parcel.exchange)
        raise passing()

    run(bench, Receiver(drop), 10.0)
    assert bench.disk.files == {"due": {}, "dead": {}}


def test_nothing_is_held_up_any_more_once_all_are_dead() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing("gone", away=True))
    bench.put(entry_of())
    run(bench, receiver, 3000.0)
    assert bench.dead() is not None
    assert bench.troubles[-1] is None


def test_what_is_wished_for_is_tried_before_its_pause_is_over() -> None:
    bench, receiver = Bench(), failing(passing(away=True))
    bench.put(entry_of(queued=BEGAN))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        runner = Runner(
            replace(SETTINGS, min_delay=500.0), bench.shelf, Path("/due"), lambda: receiver,
            now=lambda: BEGAN + loop.time(),
        )  # fmt: skip
        runner.start()
        runner.push(entry_of().exchange)
        await asyncio.sleep(10.0)
        entry = await bench.shelf.read(entry_of().exchange)
        assert entry is not None
        await bench.shelf.write(entry.anew(BEGAN))
        runner.hasten(entry.exchange)
        await asyncio.sleep(1.0)
        await runner.stop()

    virtually(main)
    assert [when for when, _, _ in receiver.got] == [0.0, 10.0]


def test_what_is_too_late_does_not_storm_a_receiver_that_is_away() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing("gone", away=True))
    bench.put(*(entry_of(number, queued=BEGAN - 1e6) for number in range(50)))
    run(bench, receiver, 20.0)
    assert len(receiver.got) <= SETTINGS.concurrency
    dead = [entry for number in range(50) if (entry := bench.dead(number))]
    assert len(dead) == 50
    assert {entry.error for entry in dead} == {"expired: gone"}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(5))
def test_an_agent_may_start_while_a_command_makes_something_due_again(
    number: int, moment: str
) -> None:
    bench = Bench()
    bench.put(entry_of())
    run(bench, failing(Undelivered(False, "no such mailbox")), 1.0)
    exchange = entry_of().exchange
    seen: list[str] = []

    async def start_in_between(when: str, operation: str) -> None:
        seen.append(operation) if when == "before" else None
        if when == moment and len(seen) == number + 1:
            bench.disk.guard = pass_by
            await bench.shelf.entries()
            await bench.shelf.drop_orphans()
            bench.disk.guard = start_in_between

    async def pass_by(when: str, operation: str) -> None:
        """The other one's operations are not counted."""

    async def main() -> None:
        bench.disk.guard = start_in_between
        with contextlib.suppress(KeyError):  # A file in memory that is removed by both at once.
            await bench.shelf.exhume(exchange, BEGAN)
        bench.disk.guard = pass_by

    virtually(main)
    assert set(bench.disk.files["due"]) == {file_of(exchange), "~" + exchange}
    assert bench.disk.files["dead"] == {}


class Jammed:
    """A disk on which these operations fail from one time to another; `Disk` as well."""

    def __init__(self, bench: Bench, number: int, *operations: str, until: float = 1e9) -> None:
        self.told: list[str] = []
        self.wake: Callable[[str], None] | None = None
        self.until = until
        self._operations = operations
        self._error = OSError(number, os.strerror(number))
        bench.disk.guard = self._guard
        self.wrote = 0

    async def _guard(self, when: str, operation: str) -> None:
        now = asyncio.get_running_loop().time()
        if when == "before" and now < self.until and operation.startswith(self._operations):
            raise self._error

    def refused(
        self, name: str, error: OSError, *, wake: Callable[[str], None] | None = None
    ) -> None:
        self.told.append(name)
        self.wake = wake

    def succeeded(self) -> None:
        self.wrote += 1


def test_what_was_delivered_and_cannot_be_noted_is_not_delivered_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    bench, receiver = Bench(), Receiver()
    bench.put(entry_of())
    Jammed(bench, errno.EROFS, "remove", until=100.0)
    runner = run(bench, receiver, 120.0)
    assert len(receiver.got) == 1
    assert bench.disk.files == {"due": {}, "dead": {}}
    assert runner.notes.count.delivered == 1
    assert [record.message for record in caplog.records] == ["delivery held", "delivery done"]


def test_what_is_refused_for_good_and_cannot_be_noted_is_not_asked_again() -> None:
    bench, receiver = Bench(), failing(then=lambda: Undelivered(False, "gone"))
    bench.put(entry_of())
    Jammed(bench, errno.ENOSPC, "replace", until=100.0)
    run(bench, receiver, 120.0)
    assert len(receiver.got) == 1
    dead = bench.dead()
    assert dead is not None and dead.error == "gone"


def test_attempts_and_pauses_go_on_while_the_disk_is_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, receiver = Bench(), failing(then=passing)
    bench.put(entry_of())
    jammed = Jammed(bench, errno.ENOSPC, "replace")
    runner = run(bench, receiver, 100.0, jammed)
    times = [when for when, _, _ in receiver.got]
    for number, pause in enumerate(later - earlier for earlier, later in pairwise(times)):
        assert 0.5 * 2**number <= pause <= 2**number + 0.1
    assert [attempt for _, _, attempt in receiver.got] == list(range(1, len(times) + 1))
    assert set(jammed.told) == {"deliver.tell"}
    assert [record.message for record in caplog.records] == ["delivery held"]
    assert runner.notes.failing == {entry_of().exchange: BEGAN}
    entry = bench.entry()
    assert entry is not None and entry.attempts == 0, "nothing was written"


def test_what_waits_to_be_noted_is_written_as_soon_as_there_is_room() -> None:
    bench, receiver = Bench(), failing(then=lambda: passing(after=500.0))
    bench.put(*map(entry_of, range(3)))
    jammed = Jammed(bench, errno.ENOSPC, "replace", until=50.0)

    async def main() -> None:
        asyncio.get_running_loop().call_later(60.0, lambda: jammed.wake and jammed.wake("x"))
        await bench.life(receiver, 61.0, jammed)

    virtually(main)
    entries = [bench.entry(number) for number in range(3)]
    assert [entry and entry.attempts for entry in entries] == [1, 1, 1]
    assert len(receiver.got) == 3
    assert jammed.wrote == 3


def test_what_somebody_wishes_for_goes_before_what_waits_to_be_noted() -> None:
    bench, receiver = Bench(), failing(passing(after=500.0))
    bench.put(entry_of())
    jammed = Jammed(bench, errno.ENOSPC, "replace")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        runner = Runner(SETTINGS, bench.shelf, Path("/due"), lambda: receiver, disk=jammed,
                        now=lambda: BEGAN + loop.time())  # fmt: skip
        runner.start()
        runner.push(entry_of().exchange)
        await asyncio.sleep(10.0)
        runner.hasten(entry_of().exchange)
        await asyncio.sleep(1.0)
        await runner.stop()

    virtually(main)
    assert receiver.got == [(0.0, "00", 1), (10.0, "00", 1)]
    assert bench.disk.files == {"due": {}, "dead": {}}


def test_what_somebody_drops_while_its_end_waits_to_be_noted_does_not_come_back() -> None:
    bench, receiver = Bench(), failing(then=passing)
    bench.put(entry_of())
    Jammed(bench, errno.ENOSPC, "replace", until=5.0)

    async def main() -> None:
        asyncio.get_running_loop().call_later(4.9, bench.disk.files["due"].clear)
        await bench.life(receiver, 30.0)

    virtually(main)
    assert bench.disk.files == {"due": {}, "dead": {}}
    assert max(when for when, _, _ in receiver.got) < 15.0


def test_who_of_several_recipients_has_it_is_known_to_later_lives_and_after_a_retry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench, found = Bench(), list[dict[str, str]]()

    async def act(parcel: Parcel) -> None:
        found.append(dict(parcel.settled))
        last = len(found) >= 3
        raise Undelivered(
            not last, "c: not now", settled={"ab"[len(found) % 2]: "" if last else "no"}
        )

    bench.put(entry_of())
    run(bench, Receiver(act), 0.1)
    run(bench, Receiver(act), 10.0)
    assert found == [{}, {"b": "no"}, {"b": "no", "a": "no"}]
    dead = bench.dead()
    assert dead is not None
    assert dead.settled == {"b": "", "a": "no"}
    assert asyncio.run(bench.shelf.exhume(dead.exchange, BEGAN))
    entry = bench.entry()
    assert entry is not None
    assert entry.settled == {"b": ""}, "who refused it may take it now; who has it has it"


def test_an_entry_of_before_there_were_several_recipients_is_read() -> None:
    entry = entry_of()
    old = {key: value for key, value in json.loads(entry.encode()).items() if key != "settled"}
    assert decode(json.dumps(old).encode(), entry.exchange) == entry
