"""Checks between keys. Most read the plain data, so they also speak when another key is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roundtrip.config.document import Path, Problem
from roundtrip.config.settings import Settings
from roundtrip.enrich import check


def together(data: Any) -> Iterator[Problem]:
    """Yield what is wrong between the steps of each pipeline and between the keys of a step."""
    for name, pipeline in _mapping(_mapping(data).get("pipelines")).items():
        steps = _mapping(pipeline).get("steps")
        if isinstance(steps, list):
            at: Path = ("pipelines", name, "steps")
            yield from _repeated(at, steps)
            for index, step in enumerate(steps):
                yield from _two_bodies((*at, index, "http"), _mapping(step).get("http"))


def runnable(data: Any, role: str | None, override: str | None) -> Iterator[Problem]:
    """Yield what keeps an agent of this role from doing anything at all."""
    if role is None and "role" not in _mapping(data):
        yield Problem((), "no role; write 'role: a' or 'role: b' in the file, or use --role")
    if role == "b" and not _mapping(data).get("pipelines"):
        why = " (--role b)" if override else ""
        yield Problem(("pipelines",), f"role b needs at least one pipeline{why}; add one")


def texts_with_secrets(data: Any) -> Iterator[tuple[Path, str]]:
    """Yield each text that secrets are filled into, and where it is."""
    for name, pipeline in _mapping(_mapping(data).get("pipelines")).items():
        steps = _mapping(pipeline).get("steps")
        for index, step in enumerate(steps if isinstance(steps, list) else []):
            at: Path = ("pipelines", name, "steps", index, "http")
            http = _mapping(_mapping(step).get("http"))
            found = {(*at, key): http.get(key) for key in ("url", "body")}
            for key in ("headers", "query"):
                found |= {(*at, key, word): text for word, text in _mapping(http.get(key)).items()}
            yield from ((path, text) for path, text in found.items() if isinstance(text, str))


def engine(settings: Settings) -> Iterator[Problem]:
    """Yield what the engine itself has against the pipelines; only role b has an engine."""
    for pipeline in settings.pipelines if settings.role == "b" else ():
        for text in check.problems(pipeline):
            yield Problem(("pipelines", pipeline.name), text)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _repeated(at: Path, steps: list[Any]) -> Iterator[Problem]:
    names: dict[str, int] = {}
    targets: dict[str, int] = {}
    for index, step in enumerate(map(_mapping, steps)):
        name, target = step.get("name"), step.get("into", step.get("name"))
        if isinstance(name, str) and names.setdefault(name, index) != index:
            text = f"{name!r} is already the name of steps[{names[name]}]; choose another"
            yield Problem((*at, index, "name"), text)
        elif isinstance(target, str) and targets.setdefault(target, index) != index:
            text = f"{target!r} is already where steps[{targets[target]}] writes; choose another"
            yield Problem((*at, index, "into"), text)


def _two_bodies(at: Path, http: Any) -> Iterator[Problem]:
    if {"json", "body"} <= _mapping(http).keys():
        yield Problem((*at, "body"), "a request has one body; remove either json or body")
