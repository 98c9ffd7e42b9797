"""Checks between the keys of a pipeline's steps, on plain data: another key may be wrong, too."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from roundtrip.arguments import Arguments
from roundtrip.config.document import Path, Problem

KINDS = ("http", "command", "python", "lookup")
AUTH_KINDS = ("basic", "bearer", "key", "oauth2")
BODIES = ("json", "form", "body")
TABLES = (".csv", ".tsv")  # kinds of lookup files in which a column is named, and no table


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def pipeline(at: Path, given: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong between the keys of one pipeline."""
    yield from _formats(at, given)
    steps = given.get("steps")
    if isinstance(steps, list):
        yield from _repeated((*at, "steps"), steps)
        names = [step["name"] for step in map(mapping, steps) if isinstance(step.get("name"), str)]
        for index, step in enumerate(steps):
            yield from _step((*at, "steps", index), step, names)


def _formats(at: Path, given: dict[str, Any]) -> Iterator[Problem]:
    fits = {"csv": ("csv", "tsv"), "json": ("json",), "xml": ("xml",)}
    kind = given.get("format", "auto")
    for key, kinds in fits.items():
        if given.get(key) and isinstance(kind, str) and kind not in ("auto", *kinds):
            yield Problem((*at, key), f"says nothing about format {kind}; remove one of the two")
    csv = mapping(given.get("csv"))
    if csv.get("delimiter") is not None and csv["delimiter"] == csv.get("quote", '"'):
        yield Problem((*at, "csv", "delimiter"), "is the same as quote; they must differ")
    header = csv.get("header")
    names = [name for name in header if isinstance(name, str)] if isinstance(header, list) else []
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem((*at, "csv", "header"), f"has {name!r} twice; columns need different names")


def _repeated(at: Path, steps: list[Any]) -> Iterator[Problem]:
    names: dict[str, int] = {}
    targets: dict[str, int] = {}
    for index, step in enumerate(map(mapping, steps)):
        name = step.get("name")
        target = step.get("into") or name
        if isinstance(name, str) and names.setdefault(name, index) != index:
            text = f"{name!r} is already the name of steps[{names[name]}]; choose another"
            yield Problem((*at, index, "name"), text)
        elif isinstance(target, str) and targets.setdefault(target, index) != index:
            text = f"{target!r} is already where steps[{targets[target]}] writes; choose another"
            yield Problem((*at, index, "into"), text)


def _step(at: Path, step: Any, names: list[str]) -> Iterator[Problem]:
    if not isinstance(step, dict):
        return
    found = [kind for kind in KINDS if step.get(kind) is not None]
    if not found and "plugin" not in step:
        yield Problem(at, "says not what is done; give it one of: " + ", ".join(KINDS))
    for kind in found[1:]:
        text = f"a step does one thing, and this one has {found[0]}; remove one of the two"
        yield Problem((*at, kind), text)
    yield from _other_steps(at, step, names)
    yield from _http((*at, "http"), mapping(step.get("http")))
    yield from _lookup((*at, "lookup"), mapping(step.get("lookup")))
    yield from _command((*at, "command"), step.get("command"))
    yield from _batch(at, step, found)


def _other_steps(at: Path, step: dict[str, Any], names: list[str]) -> Iterator[Problem]:
    needs = step.get("needs")
    places: list[tuple[Path, Any]] = [((*at, "fallback"), step.get("fallback"))]
    for index, name in enumerate(needs if isinstance(needs, list) else []):
        places.append(((*at, "needs", index), name))
    for path, name in places:
        if not isinstance(name, str):
            continue
        if name == step.get("name"):
            yield Problem(path, "is this step itself; name another one")
        elif name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "there are: " + ", ".join(names)
            yield Problem(path, f"no step is named {name!r}; {hint}")


def _http(at: Path, http: dict[str, Any]) -> Iterator[Problem]:
    bodies = [key for key in BODIES if key in http]
    for key in bodies[1:]:
        text = f"a request has one body; remove either {bodies[0]} or {key}"
        yield Problem((*at, key), text)
    if http.get("auth") is not None:
        yield from _auth((*at, "auth"), http["auth"])
    pages, job = mapping(http.get("pages")), mapping(http.get("job"))
    if pages and job:
        yield Problem((*at, "pages"), "the answer of a job has no pages; remove one of the two")
    if pages.get("next") is not None:
        for key in ("cursor", "param", "first"):
            if pages.get(key) is not None:
                yield Problem((*at, "pages", key), "has no use together with next; remove it")
    if pages.get("cursor") is not None and pages.get("first") is not None:
        yield Problem((*at, "pages", "first"), "has no use together with cursor; remove it")
    yield from _job((*at, "job"), job)


def _auth(at: Path, auth: Any) -> Iterator[Problem]:
    if not isinstance(auth, dict):
        return
    found = [kind for kind in AUTH_KINDS if auth.get(kind) is not None]
    if not found and not set(auth) - set(AUTH_KINDS):
        yield Problem(at, "says not how; give it one of: " + ", ".join(AUTH_KINDS))
    for kind in found[1:]:
        yield Problem((*at, kind), f"there is {found[0]} already; remove one of the two")


def _job(at: Path, job: dict[str, Any]) -> Iterator[Problem]:
    if job.get("status") is not None and not job.get("done"):
        yield Problem((*at, "status"), "never ends well; name the states that do: done: [...]")
    for key in ("done", "failed"):
        if job.get(key) and job.get("status") is None:
            yield Problem((*at, key), "needs status: a JMESPath to the job's state")


def _command(at: Path, command: Any) -> Iterator[Problem]:
    if isinstance(command, list):
        yield from _words(at, command)
    if not isinstance(command, dict):
        return
    yield from _words((*at, "run"), command.get("run"))
    if command.get("run") is None and command.get("shell") is None:
        yield Problem(at, "says not what is run; give it one of: run, shell")
    if command.get("run") is not None and command.get("shell") is not None:
        yield Problem((*at, "shell"), "there is run already; remove one of the two")


def _words(at: Path, run: Any) -> Iterator[Problem]:
    if isinstance(run, list) and run and all(isinstance(word, str) for word in run):
        try:
            Arguments(run, "")
        except ValueError as error:
            yield Problem(at, str(error).removeprefix(": "))


def _lookup(at: Path, lookup: dict[str, Any]) -> Iterator[Problem]:
    file = lookup.get("file")
    if not isinstance(file, str):
        return
    name = file.lower()
    if name.endswith(".mmdb"):
        unfit = [key for key in ("column", "table") if lookup.get(key) is not None]
    else:
        unfit = ["table"] if name.endswith(TABLES) and lookup.get("table") is not None else []
        if lookup.get("column") is None:
            yield Problem(at, "needs column: the name of the column that the key is looked for in")
    for key in unfit:
        yield Problem((*at, key), "has no meaning for a file of this kind; remove it")


def _batch(at: Path, step: dict[str, Any], kinds: list[str]) -> Iterator[Problem]:
    batch = mapping(step.get("batch"))
    if not batch:
        return
    if kinds and not {"http", "command"} & set(kinds):
        yield Problem((*at, "batch"), f"a {kinds[0]} step takes one record at a time; remove batch")
    by = batch.get("by", "position")
    if isinstance(by, str) and by != "position" and batch.get("key") is None:
        text = "needs key: a template of what each record's answer is known by, like '{id}'"
        yield Problem((*at, "batch", "by"), text)
    for key in ("pages", "job"):
        if mapping(step.get("http")).get(key) is not None:
            text = "can't be together with batch; remove one of the two"
            yield Problem((*at, "http", key), text)
