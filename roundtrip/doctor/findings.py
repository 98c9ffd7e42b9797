"""What doctor can say: each check by its key, how bad it may be, and one finding as a line."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, NamedTuple


class Severity(StrEnum):
    """How bad a finding is, in rising order."""

    OK = "ok"
    """As it should be."""
    NOTICE = "notice"
    """Works; worth knowing."""
    WARNING = "warning"
    """Goes on for now; will become worse unless somebody does something."""
    ERROR = "error"
    """Keeps exchanges from being done, or may soon."""


OK, NOTICE, WARNING, ERROR = Severity

About = Literal[
    "configuration", "host", "folders", "unenriched", "enriched", "deliveries", "queue", "apis"
]

CHECKS: dict[str, tuple[Severity, ...]] = {
    "configuration": (ERROR,),
    "secrets": (ERROR,),
    "python": (),
    "sqlite": (NOTICE,),
    "open-files": (WARNING,),
    "inotify-instances": (WARNING, ERROR),
    "inotify-watches": (WARNING, ERROR),
    "inotify-queue": (NOTICE,),
    "fanotify": (NOTICE,),
    "clock": (NOTICE,),
    "user": (WARNING,),
    "agent": (NOTICE,),
    "condition": (NOTICE, WARNING, ERROR),
    "folders": (ERROR,),
    "folder-access": (ERROR,),
    "one-file-system": (ERROR,),
    "private": (WARNING,),
    "state-disk": (WARNING, ERROR),
    "space": (WARNING, ERROR),
    "inodes": (WARNING, ERROR),
    "answers": (ERROR,),
    "there": (ERROR,),
    "type": (NOTICE,),
    "mount-options": (NOTICE, WARNING),
    "identity": (ERROR,),
    "heartbeat": (WARNING, ERROR),
    "protocol": (NOTICE, ERROR),
    "clock-skew": (NOTICE, WARNING),
    "writable": (ERROR,),
    "readable": (NOTICE,),
    "exclusive-create": (WARNING,),
    "rename": (ERROR,),
    "case": (NOTICE,),
    "names": (NOTICE, ERROR),
    "long-names": (ERROR,),
    "visibility": (NOTICE, WARNING),
    "fsync": (WARNING,),
    "file-times": (NOTICE,),
    "events": (NOTICE, WARNING, ERROR),
    "leftovers": (NOTICE,),
    "delivery-program": (WARNING,),
    "delivery-server": (WARNING,),
    "delivery-queue": (WARNING,),
    "broker": (ERROR,),
    "queue-depth": (NOTICE, WARNING),
    "queue-folder": (ERROR,),
    "api-name": (ERROR,),
    "api-address": (ERROR,),
    "api-connection": (ERROR,),
    "api-certificate": (WARNING, ERROR),
    "internet": (),
}
"""Every check, and what it may find apart from `ok`; docs/reference/doctor.md explains each."""


class Verdict(NamedTuple):
    """What a decision says: how bad it is, one line of text, and a command that mends it."""

    severity: Severity
    text: str
    mend: str | None = None


class Finding(NamedTuple):
    """What one check found. `mend` is a shell command that can be pasted."""

    key: str
    severity: Severity
    about: About
    text: str
    mend: str | None = None


def finding(key: str, about: About, verdict: Verdict) -> Finding:
    """A finding; the key and its severity must be among `CHECKS`."""
    severity, text, mend = verdict
    assert severity is OK or severity in CHECKS[key], f"{key} can't be {severity}"
    return Finding(key, severity, about, text, mend)


def worst(findings: Iterable[Finding]) -> Severity:
    """The severity of the worst finding; OK if there is none."""
    order = list(Severity)
    return max((found.severity for found in findings), key=order.index, default=OK)
