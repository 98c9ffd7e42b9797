"""What the responder does with requests, good and bad, and how often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from roundtrip.enrich.results import Progress, Stats
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.names import marker_of
from roundtrip.protocol.progress import progress_name, split_progress
from roundtrip.roles import progress
from roundtrip.roles.enrichment import Answer, sums
from roundtrip.roles.responder import Responder
from tests.roles.driver import to_rest
from tests.roles.world import ENRICHED, EXCHANGE, ORIGINAL, World

NAME = "orders.csv"  # as a shell script would call its request
MARKER = marker_of(NAME)


def shell_request(world: World, content: bytes = ORIGINAL, marker: bytes = b"") -> None:
    world.files("unenriched").update({NAME: content, MARKER: marker})


def answer(world: World) -> None:
    to_rest(world, NAME, roles="b")


def steal_answer(world: World) -> None:
    """A requester that removes the answer itself instead of its own request."""
    world.files("enriched").clear()


def test_an_empty_marker_is_believed_once_it_has_settled() -> None:
    world = World()
    shell_request(world)
    world.start("b")
    assert asyncio.run(world.roles["b"].look(NAME)) == pytest.approx(1.0)
    assert world.files("enriched") == {}
    world.clock.now += 1.0
    assert asyncio.run(world.roles["b"].look(NAME)) is None
    assert world.files("enriched")[NAME] == ENRICHED


def test_a_marker_that_still_grows_is_not_judged() -> None:
    world = World()
    shell_request(world, marker=b'{"v": 1, "pipe')
    world.start("b")
    asyncio.run(world.roles["b"].look(NAME))
    world.clock.now += 0.6
    world.files("unenriched")[MARKER] = b'{"v": 1, "pipeline": "upp'
    asyncio.run(world.roles["b"].look(NAME))
    world.clock.now += 0.6
    assert asyncio.run(world.roles["b"].look(NAME)) is not None, "it changed: it settles anew"
    world.files("unenriched")[MARKER] = b'{"v": 1, "pipeline": "upper"}'
    answer(world)
    assert world.files("enriched")[NAME] == ENRICHED


def test_a_request_that_is_never_removed_is_enriched_once_over_all_restarts() -> None:
    world = World()
    shell_request(world)
    for _ in range(4):
        answer(world)
        world.start("b")
    assert world.enriched[NAME] == 1


def test_a_stolen_answer_is_given_again_from_what_was_kept_then_held() -> None:
    world = World(answers=4)
    shell_request(world)
    given = 0
    for _ in range(10):
        answer(world)
        given += NAME in world.files("enriched")
        steal_answer(world)
        world.start("b")
    assert given == 4
    assert world.enriched[NAME] == 1
    report = json.loads(world.files("b/quarantine")[f"{NAME}.json"])
    assert "answered 4 times" in report["reason"]


def test_a_held_request_is_free_again_once_it_was_removed() -> None:
    world = World(answers=1)
    shell_request(world)
    answer(world)
    steal_answer(world)
    answer(world)
    assert world.files("enriched") == {}
    world.files("unenriched").clear()
    answer(world)
    assert world.files("b/quarantine") == {} == world.files("b/kept")
    shell_request(world)
    answer(world)
    assert world.files("enriched")[NAME] == ENRICHED


def test_the_same_name_with_other_content_is_another_request() -> None:
    world = World()
    shell_request(world)
    answer(world)
    steal_answer(world)
    shell_request(world, b"new\n")
    answer(world)
    assert world.files("enriched")[NAME] == b"NEW\n"


def test_a_request_replaced_while_it_is_enriched_gets_its_own_answer() -> None:
    world = World()
    shell_request(world)

    def replace_once(content: bytes) -> None:
        if content == ORIGINAL:
            shell_request(world, b"new\n")
            world.disk.touch("unenriched", NAME)

    world.enrich = replace_once
    answer(world)
    assert world.files("enriched")[NAME] == b"NEW\n"


def test_a_request_withdrawn_while_it_is_enriched_gets_no_answer() -> None:
    world = World()
    shell_request(world)
    told: list[bool] = []

    def withdraw(content: bytes) -> None:
        world.files("unenriched").clear()
        responder = world.roles["b"]
        assert isinstance(responder, Responder)
        told.append(responder.notice(MARKER, removed=True) == NAME)

    world.enrich = withdraw
    answer(world)
    assert told == [True]
    assert world.files("enriched") == {} == world.files("b/kept")


def test_a_withdrawal_whose_event_was_lost_is_found_by_a_listing() -> None:
    world = World()
    shell_request(world, marker=b'{"v": 1}')
    told: list[bool] = []

    async def guard(moment: str, operation: str) -> None:
        if operation == "call b/api":
            await world.roles["b"].rescan()
            told.append(world.cancelled())
            world.files("unenriched").clear()
            await world.roles["b"].rescan()
            told.append(world.cancelled())

    world.disk.guard = guard
    answer(world)
    assert told == [False, True]
    assert world.files("enriched") == {} == world.files("b/kept")


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        (b"nonsense", "not UTF-8 JSON"),
        (b"\xff\xfe", "not UTF-8 JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 60_000, "not UTF-8 JSON"),
        (b" " * 70_000, "larger than"),
        (b'{"v": "1"}', "\"v\" is '1'"),
        (b"{}", '"v" is None'),
        (b'{"v": 1, "exchange": "another"}', "another exchange"),
        (b'{"v": 1, "size": "big", "sha256": 7}', "should be a str"),
    ],
)
def test_an_unusable_marker_is_answered_with_the_reason(marker: bytes, reason: str) -> None:
    world = World()
    shell_request(world, marker=marker)
    answer(world)
    problem = json.loads(world.files("enriched")[NAME])
    assert reason in problem["detail"]
    assert json.loads(world.files("enriched")[MARKER])["outcome"] == "failed"
    assert world.enriched[NAME] == 0


def failing(error: Exception) -> Callable[[bytes], Answer | None]:
    def enrich(content: bytes) -> Answer | None:
        raise error

    return enrich


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (PipelineError("there is no pipeline 'x'"), "there is no pipeline 'x'"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError; host B's log says where"),
    ],
)
def test_a_request_that_cannot_be_enriched_is_answered_once_with_a_problem_document(
    error: Exception, detail: str
) -> None:
    world = World()
    shell_request(world)
    world.enrich = failing(error)
    answer(world)
    assert detail in json.loads(world.files("enriched")[NAME])["detail"]
    assert world.enriched[NAME] == 1


def test_a_disk_that_fails_while_enriching_is_no_answer() -> None:
    world = World()
    shell_request(world)
    world.enrich = failing(OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        answer(world)
    assert world.files("enriched") == {}
    world.enrich = lambda content: None
    answer(world)
    assert world.files("enriched")[NAME] == ENRICHED


def test_no_more_are_enriched_at_once_than_allowed_and_the_others_get_their_turn() -> None:
    world = World(exchanges=2)
    names = [f"{number}.csv" for number in range(7)]
    for name in names:
        world.files("unenriched").update({name: ORIGINAL, marker_of(name): b'{"v": 1}'})
    at_once: list[int] = []

    async def run() -> None:
        gate = asyncio.Event()
        tasks: set[asyncio.Task[object]] = set()

        async def guard(moment: str, operation: str) -> None:
            if operation == "call b/api":
                at_once.append(world.roles["b"].figures()["enriching"])
                await gate.wait()

        def wake(name: str) -> None:
            tasks.add(asyncio.ensure_future(world.roles["b"].look(name)))

        world.disk.guard = guard
        world.wake = wake
        world.start("b")
        for name in await world.roles["b"].rescan():
            wake(name)
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks -= done

    asyncio.run(run())
    assert max(at_once) == 2
    assert sorted(world.enriched) == names


def test_an_already_answered_request_costs_nothing_but_the_listing() -> None:
    world = World()
    shell_request(world)
    answer(world)
    world.start("b")
    seen: list[str] = []

    async def guard(moment: str, operation: str) -> None:
        seen.append(operation)

    world.disk.guard = guard
    assert asyncio.run(world.roles["b"].rescan()) == []
    assert seen == []


@pytest.mark.parametrize("left", [(MARKER,), (MARKER, NAME)])
def test_a_kept_answer_of_an_exchange_that_is_over_is_forgotten(left: tuple[str, ...]) -> None:
    world = World()
    for name in left:
        world.files("b/kept")[name] = b"{}"
    to_rest(world, NAME, roles="b")
    assert world.files("b/kept") == {}


def test_a_marker_without_a_payload_is_reported_after_the_grace_period() -> None:
    world = World()
    world.files("unenriched")[MARKER] = b""
    answer(world)
    assert json.loads(world.files("b/quarantine")[f"{NAME}.json"])["kind"] == "broken"


def test_a_name_outside_the_grammar_is_reported_and_never_used() -> None:
    world = World()
    strange = "-rf ;x\n.csv.done"
    world.files("unenriched")[strange] = b""
    world.start("b")
    responder = world.roles["b"]
    assert responder.notice(strange, removed=False) == strange
    asyncio.run(responder.look(strange))
    (name,) = world.files("b/quarantine")
    assert "/" not in name
    assert json.loads(world.files("b/quarantine")[name])["name"] == strange


@pytest.mark.parametrize(
    ("name", "removed", "about"),
    [
        (MARKER, False, NAME),
        (NAME, False, None),
        (NAME, True, NAME),
        (MARKER, True, None),
        (".orders.csv.1234.part", False, None),
        (".roundtrip", False, None),
        ("strange name.done", False, "strange name.done"),
        ("strange name.done", True, "strange name.done"),  # its report goes
        ("strange name", False, None),
    ],
)
def test_only_events_that_can_change_the_next_step_cause_a_look(
    name: str, removed: bool, about: str | None
) -> None:
    world = World()
    world.start("b")
    assert world.roles["b"].notice(name, removed) == about


def test_a_whole_exchange_of_ours_leaves_nothing_behind() -> None:
    world = World()
    world.want()
    to_rest(world, EXCHANGE)
    world.check_end()


LARGE = ORIGINAL * 100_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.update({MARKER: kept[MARKER][:-1] + b"?"}),
        lambda kept: kept.update({MARKER: kept[MARKER][:-1]}),
        lambda kept: kept.update({MARKER: kept[MARKER].partition(b"\n")[0]}),
        lambda kept: kept.update({MARKER: b'{"v": 1'}),
        lambda kept: kept.pop(MARKER),
    ],
    ids=["altered payload", "short payload", "no payload", "half a record", "nothing"],
)
def test_a_kept_answer_that_a_power_cut_tore_is_made_again(
    damage: Callable[[dict[str, bytes]], object],
) -> None:
    damaged_then_asked_again(ORIGINAL, damage)


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.update({NAME: kept[NAME][:-1] + b"?"}),
        lambda kept: kept.update({NAME: kept[NAME][:3]}),
        lambda kept: kept.pop(NAME),
        lambda kept: kept.pop(MARKER),
    ],
    ids=["altered payload", "short payload", "no payload", "no record"],
)
def test_a_large_kept_answer_that_a_power_cut_tore_is_made_again(
    damage: Callable[[dict[str, bytes]], object],
) -> None:
    damaged_then_asked_again(LARGE, damage)


def damaged_then_asked_again(content: bytes, damage: Callable[[dict[str, bytes]], object]) -> None:
    world = World()
    shell_request(world, content)
    answer(world)
    steal_answer(world)
    damage(world.files("b/kept"))
    world.start("b")
    answer(world)
    assert world.files("enriched")[NAME] == content.upper()
    assert world.enriched[NAME] == 2


def test_a_large_answer_is_given_again_from_what_was_kept() -> None:
    world = World()
    shell_request(world, LARGE)
    answer(world)
    steal_answer(world)
    world.start("b")
    answer(world)
    assert world.files("enriched")[NAME] == LARGE.upper()
    assert world.enriched[NAME] == 1


def test_a_broken_state_is_left_alone_until_the_grace_period_is_over() -> None:
    world = World()
    shell_request(world)
    answer(world)
    lost = world.files("enriched").pop(NAME)
    assert asyncio.run(world.roles["b"].look(NAME)) == pytest.approx(60.0)
    world.clock.now += 59.0
    assert asyncio.run(world.roles["b"].look(NAME)) == pytest.approx(1.0)
    assert MARKER in world.files("enriched")
    world.files("enriched")[NAME] = lost  # It was only a cache that lagged.
    assert asyncio.run(world.roles["b"].look(NAME)) is None
    assert world.enriched[NAME] == 1


def test_a_large_payload_that_changes_between_its_two_readings_is_not_answered_with_a_mixture() -> (
    None
):
    large = ORIGINAL * 100_000
    world = World()
    shell_request(world, large)

    def overwrite_once(content: bytes) -> None:
        if world.files("unenriched")[NAME] is large:
            world.files("unenriched")[NAME] = b"new\n" * 300_000
            world.disk.touch("unenriched", NAME)

    world.enrich = overwrite_once
    answer(world)
    assert world.files("enriched")[NAME] == b"NEW\n" * 300_000


def test_a_long_exchange_shows_how_far_it_is_until_its_answer_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    world = World()
    shell_request(world)
    seen: list[str] = []

    def shown() -> list[str]:
        return [name for name in world.files("enriched") if split_progress(name)]

    async def guard(moment: str, operation: str) -> None:
        if operation == "call b/api":
            world.report(Progress(0.5, Stats(records=1, calls=1), "a quota is spent"))
            while not shown():
                await asyncio.sleep(0)
            seen.append(json.loads(world.files("enriched")[shown()[0]])["waiting"]["reason"])
            assert world.roles["b"].held_up == {NAME}
        if operation == f"rename enriched/{MARKER}" and moment == "after":
            seen.append(f"answered, {len(shown())} shown")

    world.disk.guard = guard
    answer(world)
    assert seen == ["a quota is spent", "answered, 1 shown"]
    assert sorted(world.files("enriched")) == [NAME, MARKER]
    assert world.roles["b"].held_up == set()


def test_what_a_killed_life_left_of_progress_and_of_the_ledger_is_found_by_a_listing() -> None:
    world = World()
    world.files("enriched")[progress_name("gone.csv", 7)] = b"{}"
    world.paid.update({"gone.csv", NAME})
    shell_request(world, marker=b'{"v": 1}')
    world.start("b")
    assert asyncio.run(world.roles["b"].rescan()) == ["gone.csv"]
    assert world.files("enriched") == {}
    to_rest(world, "gone.csv", roles="b")
    assert world.paid == {NAME}, "that one is still asked for"


def test_what_was_paid_for_is_remembered_until_the_exchange_is_over() -> None:
    world = World()
    shell_request(world)
    answer(world)
    assert world.paid == {NAME}
    world.files("unenriched").clear()
    answer(world)
    assert world.paid == set()


def test_a_tally_is_kept_of_answers_bytes_and_calls() -> None:
    world = World()
    shell_request(world)
    stats = Stats(records=2, ok=2, calls=3, cached=1)

    def enrich(content: bytes) -> Answer:
        world.report(Progress(0.5, Stats(records=1, ok=1, calls=2)))
        return Answer(Outcome.ENRICHED, sums(stats), "upper")

    world.enrich = enrich
    answer(world)
    steal_answer(world)
    answer(world)
    asyncio.run(world.roles["b"].rescan())
    tally = world.roles["b"].tally
    assert tally.work == {"records": 2, "ok": 2, "failed": 0, "calls": 3, "cached": 1}
    assert tally.outcomes == {Outcome.ENRICHED: 2}, "given twice"
    assert tally.bytes["in"] == len(ORIGINAL)
    assert tally.bytes["out"] == 2 * len(ENRICHED)
    assert sum(tally.durations) == 2
    assert tally.listed == {"answered": 1}
