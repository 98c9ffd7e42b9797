"""What `roundtrip preview` prints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from roundtrip.cli.preview_calls import Entry, Preview
from roundtrip.cli.preview_shown import Shown


def as_dict(found: Preview) -> dict[str, Any]:
    """The preview as JSON values."""
    return {
        "file": found.name,
        "pipeline": found.pipeline,
        "format": found.format,
        "records": found.records,
        "more": found.more,
        "requests": len(_requests(found)),
        "hosts": _hosts(found),
        "steps": [_entry(entry) for entry in found.entries],
    }


def lines(found: Preview) -> Iterator[str]:
    """The preview as text, and its totals."""
    yield f"{_visible(found.name)}: pipeline {found.pipeline}, format {found.format}"
    if not found.records:
        yield "no records"
    for records, entries in groupby(found.entries, key=lambda entry: entry.records):
        yield ""
        yield _heading(records)
        for entry in entries:
            yield from _text(entry)
    yield ""
    yield _totals(found)


def _heading(records: tuple[int, ...]) -> str:
    if len(records) == 1:
        return f"record {records[0]}"
    if records[-1] - records[0] == len(records) - 1:
        return f"records {records[0]} to {records[-1]}, together"
    return f"records {', '.join(map(str, records))}, together"


def _text(entry: Entry) -> Iterator[str]:
    head = f"  {entry.step}: " if entry.step else "  "
    note = f" ({entry.note})" if entry.note else ""
    if entry.what == "same":
        yield f"{head}the same as for record {entry.first}, asked once{note}"
    elif entry.shown is None:
        said = {"skipped": "skipped; ", "error": "error: "}.get(entry.what, "")
        yield f"{head}{said}{_visible(entry.note)}"
    else:
        yield f"{head}{_visible(entry.shown.line)}{note}"
        yield from _content(entry.shown)


def _content(shown: Shown) -> Iterator[str]:
    for name, value in shown.headers:
        yield f"    {name}: {_visible(value)}"
    if shown.body:
        text = shown.body.decode(errors="backslashreplace")
        if shown.headers:
            yield ""
        for line in text.removesuffix("\n").split("\n"):
            yield f"    {_visible(line)}"


def _visible(text: str) -> str:
    """Text that can't command a terminal, whatever stood in the file."""
    return "".join(
        character if character.isprintable() or character == "\t" else repr(character)[1:-1]
        for character in text
    )


def _requests(found: Preview) -> list[Shown]:
    return [entry.shown for entry in found.entries if entry.shown and entry.shown.host is not None]


def _hosts(found: Preview) -> list[str]:
    return list(dict.fromkeys(shown.host for shown in _requests(found) if shown.host))


def _entry(entry: Entry) -> dict[str, Any]:
    said: dict[str, Any] = {"records": list(entry.records), "step": entry.step, "what": entry.what}
    if entry.note:
        said["note"] = entry.note
    if entry.first is not None:
        said["first"] = entry.first
    if entry.shown is not None:
        said |= entry.shown.as_dict()
    return said


def _totals(found: Preview) -> str:
    hosts = _hosts(found)
    said = [
        ("the first " if found.more else "") + _number(found.records, "record"),
        _number(len(_requests(found)), "request"),
    ]
    if hosts:
        said[-1] += f" to {_number(len(hosts), 'host')} ({', '.join(hosts)})"
    spare = sum(entry.what == "call" and bool(entry.note) for entry in found.entries)
    if spare:
        said.append(f"{spare} of them only if another step fails")
    unknown = sum(entry.what == "unknown" for entry in found.entries)
    if unknown:
        said.append(f"{unknown} more that can't be known before")
    return f"{', '.join(said)}; nothing was sent"


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
