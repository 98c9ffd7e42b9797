"""The steps of a pipeline as a graph: which step waits for which, and which stands in for which.

A step waits for those it `needs`, and for those whose results it names: `{geo.city}` waits for the
step that writes into `geo`. Steps that wait for none of each other run at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roundtrip.enrich.settings import (
    Action,
    CommandSettings,
    HttpSettings,
    LookupSettings,
    Pipeline,
    StepSettings,
)
from roundtrip.template import Template

BATCH = "batch"  # the field that stands for a batch's list of items, and so for none of the record


@dataclass(frozen=True, slots=True)
class Node:
    """A step that runs for each record. Steps are named by their place in the pipeline.

    `chain` is the step and its fallbacks, in the order they are tried. `needs` is a bit mask of
    the steps that must have ended before: bit n for step n.
    """

    chain: tuple[int, ...]
    needs: int

    @property
    def bit(self) -> int:
        """The node's own bit."""
        return 1 << self.chain[0]


def plan(pipeline: Pipeline) -> list[Node]:
    """The nodes, in the order of the pipeline's steps.

    Raises ValueError, in one line, for a name that no step has, and for steps that can't be put in
    an order.
    """
    steps = pipeline.steps
    places = {step.name: place for place, step in enumerate(steps)}
    chains = {place: _chain(steps, places, place) for place in range(len(steps))}
    stand_ins = {step.fallback for step in steps if step.fallback}
    nodes = {}
    for place, chain in chains.items():
        if steps[place].name not in stand_ins:
            needs = {need for link in chain for need in _needs(steps, places, stand_ins, link)}
            nodes[place] = Node(chain, sum(1 << need for need in needs - set(chain)))
    _check_order(steps, nodes)
    return list(nodes.values())


def named_fields(step: StepSettings) -> set[str]:
    """The record fields that the step's templates and its `when` name, as they are written."""
    found = set(_in_action(step.action))
    if step.batch is not None:
        found |= {*_in_data(step.batch.item), *_in_text(step.batch.key)}
    if step.when is not None:
        found |= set(_roots(step.when))
    return found - {BATCH}


def _chain(steps: Sequence[StepSettings], places: Mapping[str, int], place: int) -> tuple[int, ...]:
    chain = [place]
    while (fallback := steps[chain[-1]].fallback) is not None:
        if fallback not in places:
            raise ValueError(f"step {steps[chain[-1]].name}: no step is named {fallback!r}")
        if places[fallback] in chain:
            way = " -> ".join(steps[link].name for link in [*chain, places[fallback]])
            raise ValueError(f"the fallbacks go round in a circle: {way}")
        chain.append(places[fallback])
    return tuple(chain)


def _needs(
    steps: Sequence[StepSettings],
    places: Mapping[str, int],
    stand_ins: set[str],
    place: int,
) -> Iterator[int]:
    step = steps[place]
    for name in step.needs:
        if name not in places:
            raise ValueError(f"step {step.name}: it needs {name!r}, and no step is named so")
        if name in stand_ins:
            raise ValueError(f"step {step.name}: it needs {name!r}, which is only a fallback")
        yield places[name]
    sent = set(step.send or ()) - {"*"}
    for field in named_fields(step) | sent:
        for other, candidate in enumerate(steps):
            into = candidate.into or candidate.name
            names_it = field == into or field.startswith(f"{into}.")
            if names_it and other != place and candidate.name not in stand_ins:
                yield other


def _check_order(steps: Sequence[StepSettings], nodes: Mapping[int, Node]) -> None:
    """Raise ValueError if steps wait for each other."""
    ended: set[int] = set()

    def visit(place: int, way: list[int]) -> None:
        if place in way:
            circle = [*way[way.index(place) :], place]
            names = " -> ".join(steps[link].name for link in circle)
            raise ValueError(f"these steps wait for each other: {names}")
        if place not in ended:
            for need in nodes:
                if nodes[place].needs >> need & 1:
                    visit(need, [*way, place])
            ended.add(place)

    for place in nodes:
        visit(place, [])


def _in_action(action: Action) -> Iterator[str]:
    if isinstance(action, HttpSettings):
        yield from _in_text(action.url)
        for texts in (action.query, action.headers, action.form):
            yield from _in_data(texts)
        yield from _in_data(action.json)
        yield from _in_text(action.body)
    elif isinstance(action, CommandSettings):
        yield from _in_data(action.run)
    elif isinstance(action, LookupSettings):
        yield from _in_text(action.key)


def _in_text(text: str | None) -> Iterator[str]:
    if text is not None:
        yield from (field.name for field in Template(text).fields)


def _in_data(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield from _in_text(node)
    elif isinstance(node, Mapping):
        for value in node.values():
            yield from _in_data(value)
    elif isinstance(node, Sequence):
        for value in node:
            yield from _in_data(value)


def _roots(expression: str) -> Iterator[str]:
    """The fields that a JMESPath names anywhere: too many is safe, too few is not."""
    import jmespath  # only here: role a checks no pipelines

    try:
        parsed = jmespath.compile(expression).parsed
    except (jmespath.exceptions.JMESPathError, ValueError):
        return  # the check of the expression itself says so
    yield from _named(parsed)


def _named(node: Mapping[str, Any]) -> Iterator[str]:
    if node.get("type") == "field":
        yield node["value"]
    for child in node.get("children", ()):
        if isinstance(child, Mapping):
            yield from _named(child)
