"""The states of an exchange as data, and the one function that says what a role does next.

The state is a pure function of which of an exchange's four names exist; there is no lock and no
second source of truth. Everything that reads or draws the table (agents, documentation, tests,
`roundtrip explain`) reads `TABLE`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """A side of the exchange: `a` asks, `b` answers."""

    REQUESTER = "a"
    RESPONDER = "b"


def other(role: Role) -> Role:
    """The other side."""
    return Role.RESPONDER if role is Role.REQUESTER else Role.REQUESTER


class Step(StrEnum):
    """What a role does next. Mark and drop act on the role's own names."""

    WAIT = "wait"
    PUBLISH = "publish"
    ANSWER = "answer"
    MARK = "mark"
    COLLECT = "collect"
    DROP_MARKER = "drop marker"
    DROP_PAYLOAD = "drop payload"


class State(StrEnum):
    """What the four names say about an exchange."""

    ABSENT = "absent"
    OPENING = "opening"
    REQUESTED = "requested"
    ANSWERING = "answering"
    ANSWERED = "answered"
    CLOSING = "closing"
    COLLECTED = "collected"
    SWEEPING = "sweeping"
    WITHDRAWN = "withdrawn"
    BROKEN = "broken"


class Names(NamedTuple):
    """Which of an exchange's four names exist."""

    request: bool = False
    request_marker: bool = False
    response: bool = False
    response_marker: bool = False


class Observed(NamedTuple):
    """What a role sees of an exchange: the four names, and whether A still wants the answer.

    B can't know what A wants; for B `wanted` has no influence.
    """

    names: Names
    wanted: bool = False


class Row(NamedTuple):
    """One line of the table: the step of A while it wants the exchange, of A otherwise, and of B.

    Rows of broken states hold what mends them once the grace period is over: a marker without its
    payload is dropped by the role that wrote it, which restores the order of section 3.2.
    """

    names: Names
    state: State
    wanted: Step
    unwanted: Step
    responder: Step


def _row(names: str, state: State, wanted: Step, unwanted: Step, responder: Step) -> Row:
    return Row(Names(*(mark == "x" for mark in names.split())), state, wanted, unwanted, responder)


_WAIT, _DROP_MARKER, _DROP_PAYLOAD = Step.WAIT, Step.DROP_MARKER, Step.DROP_PAYLOAD

TABLE: tuple[Row, ...] = (
    # U/N U/N.done E/N E/N.done          A, wanted          A, not wanted      B
    _row("- - - -", State.ABSENT, Step.PUBLISH, _WAIT, _WAIT),
    _row("x - - -", State.OPENING, Step.MARK, _DROP_PAYLOAD, _WAIT),
    _row("x x - -", State.REQUESTED, _WAIT, _DROP_MARKER, Step.ANSWER),
    _row("x x x -", State.ANSWERING, _WAIT, _DROP_MARKER, Step.MARK),
    _row("x x x x", State.ANSWERED, Step.COLLECT, _DROP_MARKER, _WAIT),
    _row("x - x x", State.CLOSING, _DROP_PAYLOAD, _DROP_PAYLOAD, _WAIT),
    _row("- - x x", State.COLLECTED, _WAIT, _WAIT, _DROP_MARKER),
    _row("- - x -", State.SWEEPING, _WAIT, _WAIT, _DROP_PAYLOAD),
    _row("x - x -", State.WITHDRAWN, _DROP_PAYLOAD, _DROP_PAYLOAD, _DROP_PAYLOAD),
    _row("- x - -", State.BROKEN, _DROP_MARKER, _DROP_MARKER, _WAIT),
    _row("- x x -", State.BROKEN, _DROP_MARKER, _DROP_MARKER, _WAIT),
    _row("- x x x", State.BROKEN, _DROP_MARKER, _DROP_MARKER, _WAIT),
    _row("- x - x", State.BROKEN, _DROP_MARKER, _DROP_MARKER, _DROP_MARKER),
    _row("- - - x", State.BROKEN, _WAIT, _WAIT, _DROP_MARKER),
    _row("x - - x", State.BROKEN, _WAIT, _WAIT, _DROP_MARKER),
    _row("x x - x", State.BROKEN, _WAIT, _WAIT, _DROP_MARKER),
)

_BY_NAMES = {row.names: row for row in TABLE}


def row_of(names: Names) -> Row:
    """The table's row for these names; there is one for each of the sixteen combinations."""
    return _BY_NAMES[names]


def state_of(names: Names) -> State:
    """The state that these names mean."""
    return _BY_NAMES[names].state


def _planned(role: Role, row: Row, wanted: bool) -> Step:
    if role is Role.RESPONDER:
        return row.responder
    return row.wanted if wanted else row.unwanted


def next_step(role: Role, observed: Observed) -> Step:
    """What `role` does now. A broken state is left alone: it may be a lagging cache."""
    row = _BY_NAMES[observed.names]
    if row.state is State.BROKEN:
        return Step.WAIT
    return _planned(role, row, observed.wanted)


def mending_step(role: Role, observed: Observed) -> Step:
    """What `role` does about a state that is still broken after the grace period."""
    row = _BY_NAMES[observed.names]
    return _planned(role, row, observed.wanted) if row.state is State.BROKEN else Step.WAIT


def after(role: Role, step: Step, names: Names) -> Names:
    """The names once `role` has done `step`, as long as the other side does nothing."""
    payload, marker = ("request", "request_marker")
    if role is Role.RESPONDER:
        payload, marker = ("response", "response_marker")
    match step:
        case Step.PUBLISH | Step.ANSWER:
            return names._replace(**{payload: True, marker: True})
        case Step.MARK:
            return names._replace(**{marker: True})
        case Step.DROP_MARKER:
            return names._replace(**{marker: False})
        case Step.DROP_PAYLOAD:
            return names._replace(**{payload: False})
        case Step.WAIT | Step.COLLECT:
            return names
