"""Checks between keys. Most read the plain data, so they also speak when another key is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roundtrip.config import deliver_checks, step_checks
from roundtrip.config.document import Path, Problem
from roundtrip.config.settings import Settings
from roundtrip.config.step_checks import mapping
from roundtrip.enrich import check


def together(data: Any) -> Iterator[Problem]:
    """Yield what is wrong between the keys of a step, of a pipeline, and of a host."""
    for name, pipeline in mapping(mapping(data).get("pipelines")).items():
        yield from step_checks.pipeline(("pipelines", name), mapping(pipeline))
    yield from _hosts(mapping(mapping(data).get("hosts")))
    yield from deliver_checks.deliveries(mapping(data))


def runnable(data: Any, role: str | None, override: str | None) -> Iterator[Problem]:
    """Yield what keeps an agent of this role from doing anything at all."""
    if role is None and "role" not in mapping(data):
        yield Problem((), "no role; write 'role: a' or 'role: b' in the file, or use --role")
    if role == "b" and not mapping(data).get("pipelines"):
        why = " (--role b)" if override else ""
        yield Problem(("pipelines",), f"role b needs at least one pipeline{why}; add one")


def texts_with_secrets(data: Any) -> Iterator[tuple[Path, str]]:
    """Yield each text that secrets are filled into, and where it is."""
    for name, pipeline in mapping(mapping(data).get("pipelines")).items():
        steps = mapping(pipeline).get("steps")
        for index, step in enumerate(steps if isinstance(steps, list) else []):
            at: Path = ("pipelines", name, "steps", index)
            http = mapping(mapping(step).get("http"))
            for key in ("url", "headers", "query", "form", "body", "auth"):
                yield from _texts((*at, "http", key), http.get(key))
            for key in ("url", "result"):
                yield from _texts((*at, "http", "job", key), mapping(http.get("job")).get(key))
            environment = mapping(mapping(step).get("command")).get("environment")
            yield from _texts((*at, "command", "environment"), environment)
    for name, host in mapping(mapping(data).get("hosts")).items():
        yield from _texts(("hosts", name, "proxy"), mapping(host).get("proxy"))
    if mapping(data).get("dispatch") == "queue":
        queue = mapping(mapping(data).get("queue"))
        yield from _texts(("queue", "url"), queue.get("url"))


def engine(settings: Settings) -> Iterator[Problem]:
    """Yield what the engines themselves have against the pipelines of role b, and role a's ways."""
    for delivery in settings.deliveries if settings.role == "a" else ():
        from roundtrip.deliver import check as ways  # Nobody else pays for mail and plugins.

        for way, text in ways.problems(delivery):
            yield Problem(("deliver", delivery.name, *way), text)
    for pipeline in settings.pipelines if settings.role == "b" else ():
        for keys, text in check.problems(pipeline):
            yield Problem(("pipelines", pipeline.name, *keys), text)


def _texts(at: Path, value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield at, value
    for key, inner in mapping(value).items():
        yield from _texts((*at, key), inner)


def _hosts(hosts: dict[str, Any]) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, host in hosts.items():
        at: Path = ("hosts", name)
        first = seen.setdefault(name.lower(), name)
        if first != name:
            yield Problem(at, f"is the same host as {first!r}; put all of it in one place")
        given = mapping(host)
        for key, other in (("cert", "key"), ("key", "cert")):
            if given.get(key) is not None and given.get(other) is None:
                yield Problem((*at, key), f"needs {other}: a certificate and its key go together")
