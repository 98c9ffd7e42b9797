"""The other side, by its last life sign: whether it is alive, and whether it is understood."""

from __future__ import annotations

from typing import Any

from roundtrip import __version__
from roundtrip.doctor.findings import ERROR, NOTICE, OK, WARNING, Verdict
from roundtrip.protocol.versions import PROTOCOL, spoken_by
from roundtrip.roles.peer import SILENT

_LONGEST_BEAT = 86400.0  # seconds between two life signs that another side is believed


def heartbeat(other: str, fields: dict[str, Any], age: float, usual: float) -> Verdict:
    """Judge the age (s) of the other side's life sign; `usual` is our own time between two."""
    who = f"role {other} on {fields.get('host', '?')}"
    if age <= SILENT * max(usual, _every(fields)) + 1:
        return Verdict(OK, f"{who} gave a sign of life {age:,.0f} s ago")
    return Verdict(
        WARNING,
        f"{who} gave its last sign of life {age:,.0f} s ago: its agent is down, or the mount there",
    )


def protocol(other: str, fields: dict[str, Any]) -> Verdict:
    """Judge what the other side speaks by its life sign."""
    spoken = spoken_by(fields)
    theirs = spoken.version or "of unknown version"
    if spoken.protocol != PROTOCOL:
        older = other if spoken.protocol < PROTOCOL else "this side"
        text = f"role {other} (roundtrip {theirs}) speaks protocol {spoken.protocol}, this side"
        return Verdict(ERROR, f"{text} {PROTOCOL}: update {older}")
    if theirs != __version__:
        text = f"role {other} has roundtrip {theirs}, this side {__version__}; both speak protocol"
        return Verdict(NOTICE, f"{text} {PROTOCOL}")
    return Verdict(OK, f"role {other} has roundtrip {theirs}, too")


def _every(fields: dict[str, Any]) -> float:
    said = fields.get("every")
    return float(said) if isinstance(said, int | float) and 0 < said <= _LONGEST_BEAT else 0.0
