"""Find the configuration file, read it, and report everything that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from roundtrip.config import checks, problems
from roundtrip.config.build import Builder
from roundtrip.config.document import MAX_BYTES, Document, NotYaml, Problem, dotted, parse
from roundtrip.config.models import FileModel
from roundtrip.config.settings import Settings
from roundtrip.errors import ConfigError

FIX = "check --config or $ROUNDTRIP_CONFIG, or run 'roundtrip init'"
DEFAULT_FILES = (Path("roundtrip.yaml"), Path("/etc/roundtrip/roundtrip.yaml"))


def load(path: Path | None, role: str | None, *, named: bool = False) -> Settings:
    """Return the settings of `path`, or of the file that find() finds.

    `role` overrides the file's. With `named`, stand-ins for their names are put in the place of
    secrets. Raises ConfigError with one line for each thing that is wrong.
    """
    if role not in (None, "a", "b"):
        raise ConfigError([f"--role: must be a or b, not {role!r}"])
    file = find(path)
    document = read(file)
    settings, found = _settings(document, file, role, named=named)
    if found or settings is None:
        raise ConfigError(lines(file, document, found))
    return settings


def find(path: Path | None) -> Path:
    """Return the configuration file: `path`, else $ROUNDTRIP_CONFIG, else where it usually is.

    Raises ConfigError when there is none.
    """
    named = path or os.environ.get("ROUNDTRIP_CONFIG")
    if named:
        return Path(os.path.abspath(named))
    places = [Path(os.path.abspath(place)) for place in DEFAULT_FILES]
    for place in places:
        if os.path.exists(place):
            return place
    where = ", ".join(map(str, places))
    raise ConfigError(
        [f"no configuration: looked for $ROUNDTRIP_CONFIG (not set), {where}; run 'roundtrip init'"]
    )


def read(file: Path, fix: str = FIX) -> Document:
    """Return what the file says; raises ConfigError when it can't be read or is not YAML.

    `fix` says what to do about a file that is not there.
    """
    try:
        with open(file, "rb") as source:
            content = source.read(MAX_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError([f"{file}: can't be read: {reason}; {fix}"]) from None
    try:
        return parse(content)
    except NotYaml as error:
        where = f":{error.mark.line}:{error.mark.column}" if error.mark else ""
        raise ConfigError([f"{file}{where}: {error.text}"]) from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FileModel.model_json_schema(),
        "title": "roundtrip.yaml",
    }


def _settings(
    document: Document, file: Path, override: str | None, *, named: bool
) -> tuple[Settings | None, list[Problem]]:
    data = document.data if document.data is not None else {}
    role = override or _role(data)
    found = [
        *document.problems,
        *checks.together(data),
        *checks.runnable(data, role, override),
    ]
    try:
        model = FileModel.model_validate(data)
    except ValidationError as error:
        found += problems.from_errors(error.errors(include_url=False))
        if not named:
            found += _missing_secrets(data, file, role)
        return None, found
    builder = Builder(model, file, role or "a", named=named)
    settings = builder.settings()
    found += builder.problems
    return settings, found or list(checks.engine(settings))


def _missing_secrets(data: Any, file: Path, role: str | None) -> Iterator[Problem]:
    """Yield the secrets that are missing from a file that is also wrong in other ways.

    Not if it names secret files: that key, or the root they lie in, may be what is wrong.
    """
    if isinstance(data, dict) and data.get("secrets"):
        return
    builder = Builder(FileModel(), file, role or "a")
    for keys, text in checks.texts_with_secrets(data):
        builder.fill(keys, text)
    yield from builder.problems


def _role(data: Any) -> str | None:
    role = data.get("role") if isinstance(data, dict) else None
    return role if isinstance(role, str) else None


def lines(file: Path, document: Document, found: Iterable[Problem]) -> list[str]:
    """Return a line for each problem, in the file's order: file, line, key, and what is wrong."""
    told = set()
    for problem in found:
        mark = problem.mark or document.mark(problem.path)
        where = dotted(problem.path)
        told.add((mark, f"{file}:{mark.line}: {where + ': ' if where else ''}{problem.text}"))
    return [line for _, line in sorted(told)]
