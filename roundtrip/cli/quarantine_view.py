"""How `roundtrip quarantine` looks: everything made fit for a terminal, nothing shortened away."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from typing import Any

from roundtrip.cli.words import duration, local_time, printable
from roundtrip.protocol.markers import timestamp
from roundtrip.shelves.item import Item

_ROW = 16  # bytes in a row of a dump
_TEXT = 2000  # characters of one value
_DEEP = 6  # levels of nested evidence that are shown

_ADVICE = {
    "held": (
        "The requester keeps asking: it never takes its request away, or it removes the answer.",
        "See on host A why; then: retry (the count begins anew), or drop --file.",
    ),
    "broken": (
        "A requester removed the payload before the marker, or never wrote it.",
        "It mends itself once host A drops its marker; without an agent there: drop --file.",
    ),
    "unusable-name": (
        "No answer could have this name, so there is none.",
        "Send it under a name of A-Z a-z 0-9 . _ ~ @ + - on host A; then: drop --file.",
    ),
    "no-usable-answer": (
        "Each answer was damaged, or an answer to something else.",
        "See the evidence, and host B's log for this exchange; then: retry.",
    ),
    "deadline": (
        "The answer did not come within the time that was set.",
        "See on host B why (roundtrip status there); then: retry.",
    ),
}
_OTHERWISE = ("", "Mend what it says, then: retry; or drop it.")


def table(items: list[Item], *, header: bool) -> str:
    """One line for each item; its label, which commands take, comes first and is one word."""
    rows = [(item.label, _when(item), printable(item.kind), _line(item)) for item in items]
    if header:
        rows.insert(0, ("NAME", "SINCE", "KIND", "WHY"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )


def _line(item: Item) -> str:
    name = "" if item.name == item.label else f"{printable(item.name)!r}: "
    return f"{name}{printable(item.reason)[:_TEXT]}"


def _when(item: Item) -> str:
    return local_time(_moment(item)) or "?"


def _moment(item: Item) -> str | None:
    try:
        return timestamp(item.time)
    except (ValueError, OverflowError, OSError):
        return None


def as_dict(item: Item, *, whole: bool = False) -> dict[str, Any]:
    """An item for programs; with `whole`, its document as it stands."""
    found: dict[str, Any] = {
        "label": item.label,
        "exchange": item.exchange,
        "name": item.name,
        "kind": item.kind,
        "reason": item.reason,
        "time": _moment(item),
        "files": list(item.files),
    }
    return {**found, "document": item.document} if whole else found


def details(item: Item) -> str:
    """Everything that is known of an item."""
    return "\n".join(_details(item))


def _details(item: Item) -> Iterator[str]:
    meaning, remedy = _ADVICE.get(item.kind, _OTHERWISE)
    age = duration(max(time.time() - item.time, 0.0))
    facts = {
        "name": item.label,
        "about": "" if item.name == item.label else repr(printable(item.name)),
        "kind": printable(item.kind),
        "since": f"{_when(item)} ({age} ago)",
        "why": printable(item.reason),
        "meaning": meaning,
        "to do": remedy,
        "files": ", ".join(repr(printable(file)) for file in item.files),
    }
    for key, value in facts.items():
        if value:
            yield f"{key:10}{value[:_TEXT]}"
    for part in ("request", "evidence"):
        if part in item.document:
            yield part
            yield from _tree(item.document[part], 1)


def _tree(value: object, level: int) -> Iterator[str]:
    """A JSON value, one line for each simple one; `head_base64` as a dump of its bytes."""
    indent = "  " * level
    if level > _DEEP:
        yield f"{indent}..."
        return
    items = value.items() if isinstance(value, dict) else [("", value)]
    for key, found in items:
        if key == "head_base64":
            yield from (f"{indent}{row}" for row in _dump(found))
        elif found in ({}, None, ""):
            continue
        elif isinstance(found, dict):
            yield f"{indent}{printable(str(key))}"
            yield from _tree(found, level + 1)
        else:
            yield f"{indent}{printable(str(key))}: {printable(str(found))[:_TEXT]}"


def _dump(encoded: object) -> Iterator[str]:
    """Bytes as hexdump(1) shows them with -C."""
    try:
        content = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        yield "(not base64)"
        return
    for start in range(0, len(content), _ROW):
        row = content[start : start + _ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' ', 1):{_ROW * 3}} |{letters}|"
