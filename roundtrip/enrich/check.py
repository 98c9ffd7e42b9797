"""What is wrong with a pipeline before any payload comes, without loading an HTTP client."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from roundtrip.enrich.graph import BATCH, plan
from roundtrip.enrich.settings import (
    CommandSettings,
    HttpSettings,
    LookupSettings,
    Pipeline,
    PythonSettings,
    StepSettings,
)
from roundtrip.template import Template, Url, structure

Keys = tuple[str | int, ...]

WHOLE = "send: [field, ...], or send: ['*'] for the whole record"


class Wrong(NamedTuple):
    """A setting that can't work: its keys below the pipeline, and what to do. Holds no secrets."""

    keys: Keys
    text: str


def problems(pipeline: Pipeline) -> list[Wrong]:
    """What can't work in a pipeline whose settings are right one by one; empty when all is well."""
    found = []
    for index, step in enumerate(pipeline.steps):
        raw = pipeline.format == "raw"
        checks = [_url(step), _raw(step)] if raw else [_url(step), _sent(step), _batch(step)]
        found += [Wrong(("steps", index, *keys), text) for check in checks for keys, text in check]
    try:
        plan(pipeline)
    except ValueError as error:
        found.append(Wrong(("steps",), str(error)))
    return found


def matches(pipeline: Pipeline, original_name: str) -> bool:
    """Whether one of the pipeline's globs fits the name, upper and lower case alike."""
    name = original_name.lower()
    return any(fnmatch.fnmatchcase(name, glob.lower()) for glob in pipeline.match)


def sends_content(step: HttpSettings) -> bool:
    """Whether the step's method carries content (RFC 9110 section 9.3)."""
    return step.method.upper() in {"POST", "PUT", "PATCH"}


def _url(step: StepSettings) -> Iterator[Wrong]:
    http = step.action
    if isinstance(http, HttpSettings):
        try:
            Url(http.url, http.query)
        except ValueError as error:
            yield Wrong(("http", "url"), str(error))


def _sent(step: StepSettings) -> Iterator[Wrong]:
    """What leaves the host: said by templates, by `send`, and never by both differently."""
    if step.send is None:
        yield from _said(step)
        return
    if isinstance(step.action, LookupSettings):
        yield Wrong(("send",), "a lookup sends nothing; remove it")
        return
    for keys, fields in _named(step):
        for name in sorted(set(fields) - {BATCH}):
            if not _covered(name, step.send):
                yield Wrong(keys, f"{{{name}}} is named in {_last(keys)} but not listed in send")


def _said(step: StepSettings) -> Iterator[Wrong]:
    http, batch = step.action, step.batch
    if not isinstance(http, HttpSettings):
        return
    if batch is None:
        if sends_content(http) and not _has_body(http):
            yield Wrong(("http", "method"), f"says not what to send: add {WHOLE}")
    elif batch.item is None and (http.json is not None or not _has_place(step)):
        yield Wrong(("batch",), f"says not what a record sends: add item to it, or {WHOLE}")


def _batch(step: StepSettings) -> Iterator[Wrong]:
    """A batch is one call for many records: no field of one of them can stand in its texts."""
    http = step.action
    if step.batch is None:
        return
    places = [(keys, set(fields)) for keys, fields in _named(step) if keys[0] != "batch"]
    for keys, fields in places:
        for name in sorted(fields - {BATCH}):
            text = f"{{{name}}} is one record's, and a batch has many; name it in batch.item"
            yield Wrong(keys, text)
    if not isinstance(http, HttpSettings):
        return
    if not _has_place(step) and (_has_body(http) or not sends_content(http)):
        yield Wrong(("batch",), "its records have no place in the request; write {batch} where")


def _raw(step: StepSettings) -> Iterator[Wrong]:
    action = step.action
    if isinstance(action, PythonSettings | LookupSettings):
        kind = "python" if isinstance(action, PythonSettings) else "lookup"
        yield Wrong((kind,), "format raw has no records; use http or command")
    if isinstance(action, HttpSettings):
        if not sends_content(action):
            yield Wrong(("http", "method"), "format raw sends the file; use POST, PUT or PATCH")
        if action.pages is not None:
            yield Wrong(("http", "pages"), "format raw takes the answer as it is; remove it")
    for keys, fields in _named(step):
        for name in sorted(set(fields) - {"name"}):
            yield Wrong(keys, f"format raw has no record fields, only {{name}}; remove {{{name}}}")
    for key in ("select", "when", "fallback", "needs", "batch", "send"):
        if getattr(step, key):
            yield Wrong((key,), "format raw has no records; remove it")


def _named(step: StepSettings) -> Iterator[tuple[Keys, Iterable[str]]]:
    """The fields that are named in what leaves the step, and where."""
    action = step.action
    if isinstance(action, HttpSettings):
        yield ("http", "url"), _in_text(action.url)
        for key in ("headers", "query", "form"):
            for name, text in getattr(action, key).items():
                yield ("http", key, name), _in_text(text)
        yield ("http", "json"), _in_data(action.json)
        yield ("http", "body"), _in_text(action.body or "")
    elif isinstance(action, CommandSettings):
        for index, text in enumerate(action.run):
            yield ("command", "run", index), _in_text(text)
    if step.batch is not None:
        yield ("batch", "item"), _in_data(step.batch.item)
        yield ("batch", "key"), _in_text(step.batch.key or "")


def _in_text(text: str) -> list[str]:
    return [field.name for field in Template(text).fields]


def _in_data(node: object) -> list[str]:
    return [field.name for field in structure(node)[1]]


def _covered(name: str, send: Iterable[str]) -> bool:
    return any(sent in ("*", name) or name.startswith(f"{sent}.") for sent in send)


def _has_body(http: HttpSettings) -> bool:
    return http.json is not None or http.body is not None or bool(http.form)


def _has_place(step: StepSettings) -> bool:
    """Whether a batch's records go where `{batch}` stands, and are not the whole body."""
    return any(BATCH in fields for keys, fields in _named(step) if keys[0] == "http")


def _last(keys: Keys) -> str:
    return next(key for key in reversed(keys) if isinstance(key, str))
