"""The configuration as far as it can be used: also a broken one has folders to look at."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from roundtrip.config import Settings, load
from roundtrip.config.secrets import Filled
from roundtrip.doctor.findings import ERROR, OK, Finding, Verdict, finding
from roundtrip.errors import ConfigError

_PLACES = frozenset({
    "role", "root", "shares", "outbox", "inbox", "failed", "archive", "state", "quarantine",
    "watch", "limits", "timing",
})  # fmt: skip


class Loaded(NamedTuple):
    """What could be loaded; `whole` if that is all of it, apart from secrets."""

    settings: Settings | None
    whole: bool
    findings: list[Finding]


def read(path: Path | None, role: str | None) -> Loaded:
    """Load the configuration; what is wrong with it is in the findings."""
    try:
        settings = load(path, role)
    except ConfigError as error:
        return _without_secrets(path, role, error.problems)
    text = f"{settings.file} can be used"
    is_needed = settings.role == "b" or _has_secret([settings.deliveries, settings.look])
    secrets = (
        "all secrets are there" if is_needed else "host A needs no secrets as it is configured"
    )
    found = [("configuration", text), ("secrets", secrets)]
    return Loaded(
        settings, True, [finding(key, "configuration", Verdict(OK, text)) for key, text in found]
    )


def _has_secret(value: Any) -> bool:
    """Whether a secret was filled into any text of some settings."""
    if isinstance(value, Filled):
        return True
    if is_dataclass(value):
        return any(_has_secret(getattr(value, each.name)) for each in fields(value))
    if isinstance(value, Mapping):
        return any(map(_has_secret, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_secret, value))


def _without_secrets(path: Path | None, role: str | None, problems: list[str]) -> Loaded:
    try:
        settings = load(path, role, secrets="named")
    except ConfigError:
        return Loaded(_places(path, role), False, _told("configuration", problems, role))
    good = finding("configuration", "configuration", Verdict(OK, f"{settings.file} can be used"))
    return Loaded(settings, True, [good, *_told("secrets", problems, role)])


def _told(key: str, problems: list[str], role: str | None) -> list[Finding]:
    verdicts = [Verdict(ERROR, line, _mend(line, role)) for line in problems]
    return [finding(key, "configuration", verdict) for verdict in verdicts]


def _mend(line: str, role: str | None) -> str | None:
    """An editor at the line in question; `init` if there is no file at all."""
    found = re.match(r"(/.*?):(\d+):", line)
    if found is not None:
        return f"${{EDITOR:-vi}} +{found[2]} {shlex.quote(found[1])}"
    if line.startswith("no configuration") and role is not None:
        return f"roundtrip init --role {role}"
    return None


def _places(path: Path | None, role: str | None) -> Settings | None:
    """Settings without pipelines, if all that says where things lie can be used; else None."""
    from roundtrip.config import loading

    try:
        file = loading.find(path)
        data = loading.read(file).data
    except ConfigError:
        return None
    role = role or (data.get("role") if isinstance(data, dict) else None)
    if role not in ("a", "b"):
        return None
    return _built({key: data[key] for key in data if key in _PLACES}, file, role)


def _built(data: dict[str, Any], file: Path, role: str) -> Settings | None:
    from pydantic import ValidationError

    from roundtrip.config.build import Builder
    from roundtrip.config.models import FileModel

    try:
        builder = Builder(FileModel.model_validate(data), file, role, named=True)
    except ValidationError:
        return None
    settings = builder.settings()
    return None if builder.problems else settings
