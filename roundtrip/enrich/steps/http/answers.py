"""An answer's bytes made into values: its charset, its JSON, and what the step selects of it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jmespath

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.selecting import MISFIT

# Codecs that are no charsets of texts, or take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


class Answers:
    """How one step reads its answers. `where` names step and host in errors."""

    def __init__(self, where: str, select: Mapping[str, str], others: tuple[str, ...]) -> None:
        """`others` are further JMESPaths that look into answers. ValueError when one is none."""
        self._where = where
        self._selectors = {name: selector(text) for name, text in select.items()}
        # a selector's functions want ordinary floats; without any, numbers stay as written
        self._floats = any("(" in text for text in (*select.values(), *others))

    def value(self, body: bytes, media_type: str | None) -> object:
        """The JSON value, None for no content at all. RecordFault when it is neither."""
        if media_type is not None:
            charset = _charset(media_type)
            if charset is None:
                raise self.unusable("answered in an unknown charset")
            if charset != "utf-8":
                body = self._recoded(body, charset)
        try:
            return json_text.received(body, floats=self._floats)
        except json_text.UNREADABLE:
            return self._uncommon(body)

    def selected(self, value: object) -> object:
        """The selected members of an answer, or all of it; RecordFault when they don't fit it."""
        if not self._selectors:
            return value
        return {name: self.found(search, value) for name, search in self._selectors.items()}

    def found(self, search: Callable[[Any], Any], value: object, what: str = "select") -> Any:
        """What a selector finds in an answer; RecordFault, which names `what`, if none."""
        try:
            return search(value)
        except MISFIT:
            raise RecordFault("Unusable answer", f"{self._where}: {what} doesn't fit it") from None

    def _uncommon(self, body: bytes) -> object:
        """What is JSON but for a byte order mark, or nothing at all; RecordFault if neither."""
        body = body.removeprefix(json_text.BOM)
        try:
            return json_text.received(body, floats=self._floats) if body.strip() else None
        except json_text.UNREADABLE:
            raise self.unusable("answered with no valid JSON") from None

    def unusable(self, text: str) -> RecordFault:
        """The fault that says so."""
        return RecordFault("Unusable answer", f"{self._where} {text}")

    def _recoded(self, body: bytes, charset: str) -> bytes:
        try:
            return body.decode(charset).encode()
        except UnicodeError:
            raise self.unusable(f"answered with what is not its charset ({charset})") from None


def selector(expression: str) -> Callable[[Any], Any]:
    """A compiled JMESPath; ValueError in one line when it is none."""
    try:
        compiled = jmespath.compile(expression)
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        raise ValueError(f"not a JMESPath: {str(error).splitlines()[0]}") from None
    names = _names(compiled.parsed)
    search: Callable[[Any], Any] = compiled.search if names is None else partial(_walked, names)
    return search


def _names(node: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of a plain way like `location.city`; None when the expression is anything else."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return None
    parts = [_names(child) for child in node["children"]]
    return None if None in parts else tuple(name for part in parts for name in part or ())


def _walked(names: tuple[str, ...], value: Any) -> Any:
    """What jmespath finds, in a tenth of its time."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


@lru_cache(maxsize=64)
def _charset(media_type: str) -> str | None:
    """The Python codec for a Content-Type; UTF-8 when it names none (RFC 8259 section 8.1)."""
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _codec(value.strip().strip("\"'"))
    return "utf-8"


def _codec(charset: str) -> str | None:
    try:
        name = codecs.lookup(charset).name
        " ".encode(name)  # LookupError for codecs that aren't of texts
    except (LookupError, ValueError):
        return None
    return "utf-8" if name == "ascii" else None if name in _NO_CHARSETS else name
