"""Answers as XML elements.

A member is an element, a list the same element several times, a list within a list has `item`s,
null an empty element. What XML 1.0 can't hold becomes U+FFFD in text and `_` in a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from roundtrip.enrich import json_text

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, Char
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]")  # ASCII, so that every parser and encoding takes it
_MARKUP = re.compile("[&<>\r]")
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def element(name: str, value: object, encoding: str) -> bytes:
    """The value as elements called `name`."""
    try:
        text = "".join(_elements(element_name(name), value))
    except RecursionError:
        text = f"<{element_name(name)}><error>is nested too deeply</error></{element_name(name)}>"
    return text.encode(encoding, "xmlcharrefreplace")


def element_name(name: str) -> str:
    """The name that an element can have."""
    safe = _UNNAMED.sub("_", name)
    return safe if safe[:1].isalpha() or safe[:1] == "_" else f"_{safe}"


def _elements(name: str, value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, list):
                inner = "".join(_elements("item", item))
                yield f"<{name}>{inner}</{name}>"
            else:
                yield from _elements(name, item)
    elif isinstance(value, Mapping):
        inner = "".join(
            part for key, item in value.items() for part in _elements(element_name(key), item)
        )
        yield f"<{name}>{inner}</{name}>"
    else:
        text = _text(value)
        yield f"<{name}>{text}</{name}>" if text else f"<{name}/>"


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json_text.encode(value).decode()
    return _MARKUP.sub(lambda found: _ESCAPED[found[0]], _ILLEGAL.sub("\ufffd", text))
