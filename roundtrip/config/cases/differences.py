"""Where two values differ, in lines that name the place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice
from typing import Any

from roundtrip.enrich import json_text

MOST = 20  # differences that are told
ANYTHING = "*"  # an expected text that any value fits


def between(place: str, expected: Any, found: Any) -> list[str]:
    """The differences, one a line; empty when there are none."""
    told = list(islice(_differences(place, expected, found), MOST + 1))
    return told if len(told) <= MOST else [*told[:MOST], "..."]


def between_texts(place: str, expected: str, found: str) -> list[str]:
    """The lines that differ: `-` is expected, `+` was found."""
    if expected == found:
        return []
    wanted, came = _lines(expected), _lines(found)
    told = list(difflib.unified_diff(wanted, came, "expected", "found", lineterm="", n=1))
    return [f"{place} differs:", *islice(told, 2, 2 + MOST * 2)]


def shown(value: object) -> str:
    """A value in one line, as JSON."""
    return json_text.encode(value).decode()


def _differences(place: str, expected: Any, found: Any) -> Iterator[str]:
    if expected == ANYTHING:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected | found:
            yield from _members(f"{place}.{key}", key, expected, found)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{place}: expected {len(expected)}, found {len(found)}"
        for index in range(max(len(expected), len(found))):
            yield from _items(f"{place}[{index}]", index, expected, found)
    elif not _same(expected, found):
        yield f"{place}: expected {shown(expected)}, found {shown(found)}"


def _members(place: str, key: str, expected: Any, found: Any) -> Iterator[str]:
    if key not in found:
        yield f"{place}: expected {shown(expected[key])}, found nothing"
    elif key not in expected:
        yield f"{place}: not expected, found {shown(found[key])}"
    else:
        yield from _differences(place, expected[key], found[key])


def _items(place: str, index: int, expected: Any, found: Any) -> Iterator[str]:
    if index >= len(found):
        yield f"{place}: expected {shown(expected[index])}, found nothing"
    elif index >= len(expected):
        yield f"{place}: not expected, found {shown(found[index])}"
    else:
        yield from _differences(place, expected[index], found[index])


def _same(expected: Any, found: Any) -> bool:
    # true is 1 in Python, but not in JSON
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)


def _lines(text: str) -> list[str]:
    # repr: a difference in white space or line ends must be seen
    return [repr(line)[1:-1] for line in text.splitlines(keepends=True)]
