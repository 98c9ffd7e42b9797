"""Room on a file system: bytes and inodes, for shares and for this host's own folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roundtrip.doctor.findings import ERROR, OK, WARNING, About, Finding, Verdict, finding

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_NEAR = 2
"""Within this many times the reserve, a disk is nearly full."""
_FEW = 1000  # inodes: four for each exchange under way, and those of the results


def room(about: About, where: str, facts: dict[str, Any], reserve: int) -> Iterator[Finding]:
    """Findings about a file system; `where` begins their texts, `reserve` is in bytes."""
    verdict = space(facts["free"], facts["total"], reserve)
    yield finding("space", about, _at(where, verdict))
    if facts["inodes"]:
        verdict = inodes(facts["inodes_free"], facts["inodes"])
        yield finding("inodes", about, _at(where, verdict))


def _at(where: str, verdict: Verdict) -> Verdict:
    return verdict._replace(text=f"{where}: {verdict.text}" if where else verdict.text)


def space(free: int, total: int, reserve: int) -> Verdict:
    """Judge free bytes against `limits.reserve`, below which nothing new is begun."""
    text = f"{shown(free)} of {shown(total)} free"
    if total == 0 and free == 0:
        return Verdict(OK, "the file system does not say how much is free")
    if reserve >= total:
        return Verdict(ERROR, f"{text}; limits.reserve ({shown(reserve)}) is all of it: lower it")
    if free < reserve:
        text += f", less than limits.reserve ({shown(reserve)}): nothing new is begun"
        return Verdict(ERROR, text)
    if free < _NEAR * reserve:
        return Verdict(WARNING, f"{text}, nearly at limits.reserve ({shown(reserve)})")
    return Verdict(OK, text)


def inodes(free: int, total: int) -> Verdict:
    """Judge how many more files there may be; `total` is not 0."""
    text = f"{free:,} of {total:,} inodes free"
    if free == 0:
        return Verdict(ERROR, f"{text}: no file can be made")
    if free < _FEW:
        return Verdict(WARNING, f"{text}: few files more can be made")
    return Verdict(OK, text)


def shown(size: float) -> str:
    """A number of bytes for a human being."""
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
