"""Canaries: through the whole way, measured, and gone; what is wrong with the way is an alarm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

import pytest

from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.names import CANARY, Namer, is_canary, marker_of
from roundtrip.protocol.versions import Spoken
from roundtrip.roles.canary import ECHO_MAX, Canary
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.health import Condition, Severity
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from tests.roles.driver import _to_rest as to_rest
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, World

INTERVAL = 60.0


class Aviary:
    """A world in which A sends canaries when a test says so."""

    def __init__(self, **settings: int) -> None:
        self.world = World(**settings)
        self.world.canary = INTERVAL
        self.woken: list[str] = []
        self.world.wake = self.woken.append

    async def open(self) -> Aviary:
        for role in "ba":
            self.world.start(role)
            await self.world.roles[role].start()
        return self

    @property
    def a(self) -> Requester:
        found = self.world.roles["a"]
        assert isinstance(found, Requester)
        return found

    @property
    def b(self) -> Responder:
        found = self.world.roles["b"]
        assert isinstance(found, Responder)
        return found

    @property
    def canary(self) -> Canary:
        assert self.a.canary is not None
        return self.a.canary

    async def due(self) -> str:
        """What the timer does; returns the canary that is under way."""
        self.canary.due()
        if self.canary._sending is not None:
            await self.canary._sending
        return self.canary.exchange

    async def rest(self, *exchanges: str, roles: str = "ab") -> None:
        await to_rest(self.world, exchanges, roles)

    def condition(self) -> Condition:
        (found,) = self.world.health.conditions()
        return found

    def traces(self) -> dict[str, list[str]]:
        """Where anything of a canary is left; the agents sweep what is in flight."""
        found = {
            label: [name for name in names if CANARY in name and not name.startswith(".")]
            for label, names in self.world.disk.files.items()
        }
        return {label: names for label, names in found.items() if names}


@pytest.fixture
async def aviary() -> AsyncIterator[Aviary]:
    found = await Aviary().open()
    yield found
    found.a.stop()


async def test_a_canary_goes_the_whole_way_and_leaves_nothing(aviary: Aviary) -> None:
    exchange = await aviary.due()
    assert is_canary(exchange) and aviary.woken == [exchange]
    await aviary.rest(exchange, roles="a")
    assert set(aviary.world.files("unenriched")) == {exchange, marker_of(exchange)}
    aviary.world.clock.now += 0.25
    await aviary.rest(exchange)
    assert aviary.traces() == {}
    assert aviary.world.files("a/inbox") == aviary.world.files("a/archive") == {}
    assert aviary.world.enriched == {}, "no pipeline ran"
    figures = aviary.canary.figures()
    assert figures["latency"] == pytest.approx(0.25)
    assert (figures["ok"], figures["late"], figures["failed"]) == (1, 0, 0)
    assert figures["last_success"] is not None
    assert aviary.world.health.conditions() == []


async def test_a_canary_is_counted_as_nobodys_work(aviary: Aviary) -> None:
    exchange = await aviary.due()
    await aviary.rest(exchange, roles="a")
    assert aviary.a.figures() == {"pending": 0, "done": 0}
    await aviary.a.rescan()
    assert sum(aviary.a.tally.listed.values()) == 0
    await aviary.rest(exchange)
    for side in (aviary.a, aviary.b):
        assert side.figures()["done"] == side.tally.published == side.tally.outcomes.total() == 0


async def test_there_is_one_canary_at_a_time(aviary: Aviary) -> None:
    first = await aviary.due()
    assert await aviary.due() == first
    assert set(aviary.world.files("a/pending")) == {first}
    await aviary.rest(first)
    second = await aviary.due()
    assert second > first


def share_away(aviary: Aviary) -> None:
    """Nothing is looked at: the agent holds its work."""


async def publish(aviary: Aviary) -> None:
    await aviary.rest(aviary.canary.exchange, roles="a")


async def answer_that_is_torn(aviary: Aviary) -> None:
    exchange = aviary.canary.exchange
    await publish(aviary)
    await aviary.rest(exchange, roles="b")
    aviary.world.files("enriched")[exchange] = b"?"
    await aviary.a.look(exchange)


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (None, "not published: the share is away"),
        (publish, "published, B has not answered"),
        (answer_that_is_torn, "answered, not readable: it has 1 bytes"),
    ],
)
async def test_one_that_is_not_back_is_an_alarm_that_says_how_far_it_came(
    aviary: Aviary, happens: Callable[[Aviary], object] | None, told: str
) -> None:
    exchange = await aviary.due()
    if happens is not None:
        await happens(aviary)
    await aviary.due()
    condition = aviary.condition()
    assert (condition.key, condition.severity) == ("canary", Severity.ALARM)
    assert told in condition.text and "60 s" in condition.text
    assert aviary.woken == [exchange, exchange], "it is looked at once more"
    await aviary.due()
    assert aviary.canary.figures()["late"] == 1, "a late one is counted once"


async def test_the_alarm_ends_with_the_next_success(aviary: Aviary) -> None:
    exchange = await aviary.due()
    await aviary.due()
    assert aviary.world.health.holds("canary")
    await aviary.rest(exchange)
    assert aviary.world.health.conditions() == []
    assert aviary.traces() == {}


async def test_the_alarm_follows_the_canary_on_its_way(aviary: Aviary) -> None:
    exchange = await aviary.due()
    await aviary.due()
    await aviary.rest(exchange, roles="a")
    assert "published, B has not answered" in aviary.condition().text


async def test_an_answer_with_other_bytes_is_an_alarm_and_not_asked_for_again(
    aviary: Aviary, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def other(request: object, source: object, sink: BinaryIO, *more: object) -> Answer:
        sink.write(b"something else")
        return Answer(Outcome.ENRICHED, {}, CANARY)

    monkeypatch.setattr("roundtrip.roles.answering._echo", other)
    exchange = await aviary.due()
    await aviary.rest(exchange)
    assert aviary.canary.figures()["failed"] == 1
    assert "it is not what was sent" in aviary.condition().text
    assert aviary.condition().severity is Severity.ALARM
    assert aviary.traces() == {}
    monkeypatch.undo()
    await aviary.rest(await aviary.due())
    assert aviary.world.health.conditions() == []


async def test_a_payload_torn_on_its_way_is_an_alarm(aviary: Aviary) -> None:
    exchange = await aviary.due()
    await aviary.rest(exchange, roles="a")
    aviary.world.files("unenriched")[exchange] = b"torn"
    await aviary.rest(exchange)
    assert "B asked for it again" in aviary.condition().text
    assert aviary.traces() == {}


def knows_no_canary(aviary: Aviary, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> object:
        raise PipelineError("there is no pipeline '~canary'")

    monkeypatch.setattr("roundtrip.roles.answering._echo", refuse)


async def test_a_b_that_does_not_know_the_canary_is_a_notice_and_a_success(
    aviary: Aviary, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows_no_canary(aviary, monkeypatch)
    aviary.world.peer = Spoken("0.0.9", 1, frozenset())
    await aviary.rest(await aviary.due())
    condition = aviary.condition()
    assert condition.severity is Severity.NOTICE
    assert "host B (0.0.9) does not know the canary; upgrade host B" in condition.text
    assert aviary.canary.figures()["ok"] == 1
    assert aviary.traces() == {}
    assert aviary.world.files("a/failed") == {}


async def test_a_b_that_should_know_the_canary_and_refuses_it_is_an_alarm(
    aviary: Aviary, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows_no_canary(aviary, monkeypatch)
    aviary.world.peer = Spoken("9.9", 1, frozenset({"canary"}))
    await aviary.rest(await aviary.due())
    assert aviary.condition().severity is Severity.ALARM
    assert "no pipeline" in aviary.condition().text


async def test_b_echoes_while_all_its_places_are_taken() -> None:
    aviary = Aviary(exchanges=1)
    aviary.world.want()
    await aviary.open()
    called, free = asyncio.Event(), asyncio.Event()

    async def busy(moment: str, operation: str) -> None:
        if operation == "call b/api":
            called.set()
            await free.wait()

    await aviary.rest(EXCHANGE, roles="a")
    aviary.world.disk.guard = busy
    work = asyncio.create_task(aviary.b.look(EXCHANGE))
    await called.wait()
    assert aviary.b.figures()["enriching"] == 1
    exchange = await aviary.due()
    await aviary.rest(exchange)
    assert aviary.canary.figures()["ok"] == 1
    free.set()
    await work
    aviary.a.stop()


async def test_a_rescan_of_b_puts_no_canary_into_the_line_behind_others() -> None:
    aviary = Aviary(exchanges=1)
    aviary.world.want()
    await aviary.open()
    exchange = await aviary.due()
    await aviary.rest(exchange, EXCHANGE, roles="a")
    assert await aviary.b.rescan() == [exchange]
    assert aviary.b.figures()["waiting"] == 0 and EXCHANGE in aviary.woken
    aviary.a.stop()


async def test_a_large_payload_is_not_echoed() -> None:
    aviary = Aviary()
    exchange = Namer()("large.bin")
    aviary.world.want(exchange, b"x" * (ECHO_MAX + 1), original_name="large.bin", pipeline=CANARY)
    await aviary.open()
    await aviary.rest(exchange)
    assert set(aviary.world.files("a/failed")) == {"large.bin", "large.bin.problem.json"}
    aviary.a.stop()


async def test_one_whose_file_was_taken_away_makes_room_for_the_next(aviary: Aviary) -> None:
    exchange = await aviary.due()
    del aviary.world.files("a/pending")[exchange]
    await aviary.rest(exchange)
    assert await aviary.due() not in ("", exchange)


async def test_a_full_disk_is_told_and_the_next_is_tried(aviary: Aviary) -> None:
    async def full(moment: str, operation: str) -> None:
        raise OSError(28, "No space left on device")

    aviary.world.disk.guard = full
    assert await aviary.due() == ""
    assert "not sent: a/pending: No space left on device" in aviary.condition().text
    aviary.world.disk.guard = _let_pass
    await aviary.rest(await aviary.due())
    assert aviary.world.health.conditions() == []


async def _let_pass(moment: str, operation: str) -> None:
    """Nothing is in the way."""


async def test_a_success_of_an_earlier_life_is_remembered(aviary: Aviary) -> None:
    await aviary.rest(await aviary.due())
    told = aviary.canary.figures()
    aviary.a.stop()
    aviary.world.start("a")
    aviary.canary.recall(told)
    assert aviary.canary.figures()["last_success"] == told["last_success"]
    assert aviary.canary.figures()["ok"] == 0
    aviary.canary.recall({"last_success": 7, "latency": "x"})
    assert aviary.canary.figures()["last_success"] == told["last_success"]


async def test_a_user_can_have_the_whole_way_tested_by_hand() -> None:
    aviary = Aviary()
    exchange = Namer()("hello.txt")
    aviary.world.want(exchange, b"hello", original_name="hello.txt", pipeline=CANARY)
    await aviary.open()
    await aviary.rest(exchange)
    assert aviary.world.files("a/inbox") == {"hello.txt": b"hello"}
    aviary.a.stop()


def test_no_files_name_makes_an_exchange_that_looks_like_a_canary() -> None:
    for name in (CANARY, f"x-{CANARY}", "canary", f"01ARZ3NDEKTSV4RRFFQ69G5FAV-{CANARY}"):
        assert not is_canary(Namer()(name))
    assert is_canary(Namer().canary())


class Killed(BaseException):
    """The requester's process is gone."""


async def mutations_of_a_canary() -> int:
    """How often a canary's way changes something on the disk."""
    aviary = await Aviary().open()
    count = 0

    async def guard(moment: str, operation: str) -> None:
        nonlocal count
        count += moment == "before"

    aviary.world.disk.guard = guard
    await aviary.rest(await aviary.due())
    aviary.a.stop()
    return count


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_whoever_is_killed_when_nothing_of_a_canary_is_left_in_the_end(moment: str) -> None:
    total = await mutations_of_a_canary()
    assert total > 10
    for number in range(1, total + 1):
        await _killed_at(number, moment)


async def _killed_at(number: int, when: str) -> None:
    aviary = Aviary()
    aviary.world.want()  # A user's exchange goes the same way.
    await aviary.open()
    count = 0

    async def guard(moment: str, operation: str) -> None:
        nonlocal count
        count += moment == "before"
        if moment == when and count == number:
            aviary.world.disk.guard = _let_pass
            raise Killed(operation)

    aviary.world.disk.guard = guard
    try:
        exchange = await aviary.due()
        await aviary.rest(exchange)
    except Killed:
        aviary.a.stop()
        await aviary.open()
        left = {name for names in aviary.traces().values() for name in names}
        exchange = min((name.split("~canary")[0] + CANARY for name in left), default="")
        if exchange:
            await aviary.rest(exchange)
    else:
        raise AssertionError(f"operation {number} was never reached")
    assert aviary.traces() == {}, f"{when} operation {number}"
    await aviary.rest(EXCHANGE)
    assert aviary.world.files("a/inbox") == {"orders.csv": ENRICHED}
    assert set(aviary.world.files("a/archive").values()) == {ORIGINAL}
    if await aviary.due():
        await aviary.rest(aviary.canary.exchange)
    assert aviary.world.health.conditions() == []
    aviary.a.stop()


async def test_a_canary_has_no_deadline_and_goes_on_measuring_a_way_that_is_slow() -> None:
    aviary = Aviary(deadline=1)
    await aviary.open()
    exchange = await aviary.due()
    aviary.world.set_by = 1e9
    await aviary.rest(exchange, roles="a")
    await aviary.due()
    assert "published, B has not answered" in aviary.condition().text
    assert set(aviary.world.files("a/pending")) == {exchange}
    await aviary.rest(exchange)
    assert aviary.traces() == {} and aviary.world.health.conditions() == []
    aviary.a.stop()
