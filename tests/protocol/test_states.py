"""The table of states, written out a second time, and what follows from it: both roles converge."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import NamedTuple

import pytest

from roundtrip.protocol.states import (
    TABLE,
    Names,
    Observed,
    Role,
    State,
    Step,
    after,
    mending_step,
    next_step,
    row_of,
    state_of,
)

A, B = Role.REQUESTER, Role.RESPONDER

# From the specification, not from the code: U/N, U/N.done, E/N, E/N.done, then the state, what A
# does while it wants the answer, what A does otherwise, and what B does. "-" is to wait; steps in
# brackets are those of a broken state, once the grace period is over.
SPECIFIED = {
    "----": ("absent", "publish", "-", "-"),
    "x---": ("opening", "mark", "drop payload", "-"),
    "xx--": ("requested", "-", "drop marker", "answer"),
    "xxx-": ("answering", "-", "drop marker", "mark"),
    "xxxx": ("answered", "collect", "drop marker", "-"),
    "x-xx": ("closing", "drop payload", "drop payload", "-"),
    "--xx": ("collected", "-", "-", "drop marker"),
    "--x-": ("sweeping", "-", "-", "drop payload"),
    "x-x-": ("withdrawn", "drop payload", "drop payload", "drop payload"),
    "-x--": ("broken", "(drop marker)", "(drop marker)", "-"),
    "-xx-": ("broken", "(drop marker)", "(drop marker)", "-"),
    "-xxx": ("broken", "(drop marker)", "(drop marker)", "-"),
    "-x-x": ("broken", "(drop marker)", "(drop marker)", "(drop marker)"),
    "---x": ("broken", "-", "-", "(drop marker)"),
    "x--x": ("broken", "-", "-", "(drop marker)"),
    "xx-x": ("broken", "-", "-", "(drop marker)"),
}
VIEWS = [(A, True), (A, False), (B, True), (B, False)]
CASES = [(names, *view) for names in SPECIFIED for view in VIEWS]


def names_of(text: str) -> Names:
    return Names(*(mark == "x" for mark in text))


def specified(text: str, role: Role, wanted: bool) -> str:
    _, if_wanted, otherwise, responder = SPECIFIED[text]
    if role is B:
        return responder
    return if_wanted if wanted else otherwise


def test_all_sixteen_combinations_of_names_are_specified_and_in_the_table_once() -> None:
    combinations = {Names(*marks) for marks in product((False, True), repeat=4)}
    assert {names_of(text) for text in SPECIFIED} == combinations
    assert sorted(row.names for row in TABLE) == sorted(combinations)


@pytest.mark.parametrize("text", SPECIFIED)
def test_the_four_names_mean_the_state_that_the_specification_says(text: str) -> None:
    assert state_of(names_of(text)) == row_of(names_of(text)).state == SPECIFIED[text][0]


@pytest.mark.parametrize(("text", "role", "wanted"), CASES)
def test_each_role_does_what_the_specification_says(text: str, role: Role, wanted: bool) -> None:
    expected = specified(text, role, wanted)
    if expected == "-" or expected.startswith("("):
        expected = "wait"
    assert next_step(role, Observed(names_of(text), wanted)) == expected


@pytest.mark.parametrize(("text", "role", "wanted"), CASES)
def test_only_broken_states_are_mended_and_each_role_touches_its_own_names(
    text: str, role: Role, wanted: bool
) -> None:
    expected = specified(text, role, wanted)
    expected = expected.strip("()") if expected.startswith("(") else "wait"
    assert mending_step(role, Observed(names_of(text), wanted)) == expected


@pytest.mark.parametrize(
    ("role", "step", "before", "then"),
    [
        (A, "publish", "----", "xx--"),
        (A, "mark", "x---", "xx--"),
        (A, "collect", "xxxx", "xxxx"),
        (A, "drop marker", "xxxx", "x-xx"),
        (A, "drop payload", "x-xx", "--xx"),
        (A, "drop payload", "xxxx", "-xxx"),
        (A, "wait", "xx--", "xx--"),
        (B, "answer", "xx--", "xxxx"),
        (B, "mark", "xxx-", "xxxx"),
        (B, "drop marker", "--xx", "--x-"),
        (B, "drop payload", "--x-", "----"),
        (B, "drop payload", "xxxx", "xx-x"),
        (B, "wait", "xxxx", "xxxx"),
    ],
)
def test_a_step_changes_just_its_own_names(role: Role, step: str, before: str, then: str) -> None:
    assert after(role, Step(step), names_of(before)) == names_of(then)


@pytest.mark.parametrize(("text", "role", "wanted"), CASES)
def test_no_step_touches_a_name_of_the_other_role(text: str, role: Role, wanted: bool) -> None:
    names = names_of(text)
    for step in _steps(role, Exchange(names, wanted)):
        changed = after(role, step, names)
        theirs = slice(2, 4) if role is A else slice(0, 2)
        assert changed[theirs] == names[theirs]


# What follows: a model of both roles on the four names, all interleavings of them, and a crash
# after the first half of each step that has two.


class Exchange(NamedTuple):
    names: Names
    wanted: bool


class Move(NamedTuple):
    role: Role
    step: Step
    to: Exchange


OVER = Exchange(Names(), False)
EVERYWHERE = [
    Exchange(Names(*marks), wanted)
    for marks in product((False, True), repeat=4)
    for wanted in (True, False)
]


def _steps(role: Role, exchange: Exchange) -> list[Step]:
    observed = Observed(*exchange)
    found = {next_step(role, observed), mending_step(role, observed)}
    return sorted(found - {Step.WAIT})


def moves(exchange: Exchange) -> list[Move]:
    """All that can happen next, at any side."""
    found = []
    for role in (A, B):
        for step in _steps(role, exchange):
            whole = after(role, step, exchange.names)
            wanted = exchange.wanted and step is not Step.COLLECT
            found.append(Move(role, step, Exchange(whole, wanted)))
            if step in (Step.PUBLISH, Step.ANSWER):  # killed between payload and marker
                marker = "request_marker" if role is A else "response_marker"
                half = whole._replace(**{marker: False})
                found.append(Move(role, step, Exchange(half, wanted)))
    return found


@pytest.mark.parametrize("start", EVERYWHERE, ids=str)
def test_every_state_converges_by_every_interleaving_of_the_roles(start: Exchange) -> None:
    on_the_way: set[Exchange] = set()
    settled: set[Exchange] = set()

    def walk(exchange: Exchange) -> None:
        assert exchange not in on_the_way, f"goes round for ever at {exchange}"
        if exchange in settled:
            return
        on_the_way.add(exchange)
        found = moves(exchange)
        assert found or exchange == OVER, f"stuck at {exchange}"
        for move in found:
            walk(move.to)
        on_the_way.remove(exchange)
        settled.add(exchange)

    walk(start)
    assert OVER in settled


@pytest.mark.parametrize("start", EVERYWHERE, ids=str)
def test_roles_that_take_turns_end_with_nothing_on_the_shares(start: Exchange) -> None:
    exchange, collected = start, False
    for _ in range(20):
        for role in (A, B):
            turn = [move for move in moves(exchange) if move.role is role]
            if turn:
                collected |= turn[0].step is Step.COLLECT
                exchange = turn[0].to
    assert exchange == OVER
    assert collected == start.wanted  # A wanted answer is collected, an unwanted one is not.


def test_an_exchange_passes_through_nine_states_and_is_never_broken() -> None:
    reached: dict[State, set[Exchange]] = defaultdict(set)
    waiting = [Exchange(Names(), True)]
    while waiting:
        exchange = waiting.pop()
        if exchange in reached[state_of(exchange.names)]:
            continue
        reached[state_of(exchange.names)].add(exchange)
        waiting += [move.to for move in moves(exchange)]
        if exchange.wanted:  # A may stop wanting it at any time: that is how it is cancelled.
            waiting.append(Exchange(exchange.names, False))
    assert {state for state, found in reached.items() if found} == set(State) - {State.BROKEN}


def test_a_marker_is_never_without_its_payload_whatever_the_roles_do() -> None:
    for start in EVERYWHERE:
        if state_of(start.names) is State.BROKEN:
            continue
        for move in moves(start):
            names = move.to.names
            assert names.request or not names.request_marker
            assert names.response or not names.response_marker
