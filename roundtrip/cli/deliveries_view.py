"""How `roundtrip deliveries` looks on a terminal, and in a pipe: columns, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roundtrip.cli.words import local_time, printable
from roundtrip.protocol.markers import timestamp

if TYPE_CHECKING:
    from roundtrip.queues import Item

_HEADER = ("id", "state", "tries", "due since", "name", "last error")


def table(items: Sequence[Item], *, header: bool) -> str:
    """A line for each item; the columns are as wide as they need to be."""
    rows = [_HEADER] if header else []
    rows += [_row(item) for item in items]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _row(item: Item) -> tuple[str, str, str, str, str, str]:
    state = "dead" if item.is_dead else "due"
    entry = item.entry
    if entry is None:
        return item.id, state, "?", "?", "?", "its entry can't be read"
    since = local_time(timestamp(entry.queued)) or ""
    name, error = printable(entry.original_name), printable(entry.error or "")
    return item.id, state, str(entry.attempts), since, name, error
