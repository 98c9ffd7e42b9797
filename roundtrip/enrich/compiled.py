"""A pipeline made ready to run: its steps linked as the graph says, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jmespath

from roundtrip.enrich.formats import Column
from roundtrip.enrich.graph import Node, plan
from roundtrip.enrich.selecting import MISFIT
from roundtrip.enrich.settings import (
    CommandSettings,
    HttpSettings,
    Pipeline,
    PythonSettings,
    StepSettings,
)
from roundtrip.enrich.steps import Step

MAX_WAITING = 10_000  # records of a payload read and not yet written
SEVERITY = ("annotate", "drop", "fail")


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A step in its place. A fallback has the bit, target and `on_error` of the step it is for.

    `leaves`: what it gets of a record goes to another host.
    """

    step: Step
    bit: int
    needs: int
    into: str
    on_error: str
    leaves: bool
    sends_all: bool
    sees: tuple[str, ...]
    fallback: Link | None
    when: Callable[[Any], Any] | None

    def skips(self, fields: Mapping[str, Any]) -> bool:
        """Whether `when` says that the step is not for this record.

        False, null and what is empty mean no (JMESPath's own idea of truth); so does an error.
        """
        if self.when is None:
            return False
        try:
            found = self.when(fields)
        except MISFIT:
            return True
        return found is None or found is False or found in ("", [], {})


class Compiled:
    """One pipeline, shared by all its payloads."""

    def __init__(self, pipeline: Pipeline, make: Callable[[StepSettings], Step]) -> None:
        """Raises ValueError, in one line, when a step can't be made or the graph has a flaw."""
        self.settings = pipeline
        self.steps = [make(step) for step in pipeline.steps]
        nodes = plan(pipeline)
        self.firsts = [_linked(node, self.steps, nodes) for node in nodes]
        self.sends_all = any(link.sends_all for first in self.firsts for link in _links(first))
        self.strictest = max((link.on_error for link in self.firsts), key=SEVERITY.index)
        self.waiting = min(MAX_WAITING, max(_waiting(step) for step in pipeline.steps))
        self._intos = [link.into for link in self.firsts]

    def put_in_order(self, fields: dict[str, Any]) -> None:
        """Answers come in any order; they are written in the order of the steps."""
        if len(self._intos) > 1:
            for into in self._intos:
                if into in fields:
                    fields[into] = fields.pop(into)

    def columns(self) -> list[Column]:
        """The columns that the steps add to a table, in the order of steps and their `select`."""
        found = []
        for first in self.firsts:
            into = first.into
            members = _members(first)
            found += [Column(f"{into}.{member}", into, member) for member in members]
            if not members:
                found.append(Column(into, into))
            if first.on_error == "annotate" and "error" not in members:
                found.append(Column(f"{into}.error", into, error=True))
        return found


def _linked(node: Node, steps: Sequence[Step], nodes: Sequence[Node]) -> Link:
    first = steps[node.chain[0]]
    waited_for = [other for other in nodes if node.needs & other.bit]
    sees = tuple(steps[other.chain[0]].into for other in waited_for)
    link: Link | None = None
    for place in reversed(node.chain):
        step = steps[place]
        link = Link(
            step=step,
            bit=node.bit,
            needs=node.needs,
            into=first.into,
            on_error=first.settings.on_error,
            leaves=isinstance(step.settings.action, HttpSettings),
            sends_all=sends_all(step.settings),
            sees=sees,
            fallback=link,
            when=_condition(step.settings.when),
        )
    assert link is not None  # a chain has its own step at least
    return link


def _links(first: Link) -> list[Link]:
    found = [first]
    while found[-1].fallback is not None:
        found.append(found[-1].fallback)
    return found


def _members(first: Link) -> list[str]:
    """The answer's members, of the step and of its fallbacks; none when one of them says none."""
    each = [link.step.selected for link in _links(first)]
    if not all(each):
        return []
    return list(dict.fromkeys(member for members in each for member in members))


def sends_all(step: StepSettings) -> bool:
    """Whether the step gets all that the record came with."""
    if step.send is None:
        return isinstance(step.action, CommandSettings | PythonSettings)
    return "*" in step.send


def _condition(when: str | None) -> Callable[[Any], Any] | None:
    if when is None:
        return None
    search: Callable[[Any], Any] = jmespath.compile(when).search
    return search


def _waiting(step: StepSettings) -> int:
    # twice the calls that may run: a slow record at the front must not stop the others
    return 2 * step.concurrency * (step.batch.size if step.batch else 1)
