"""Reading small JSON documents that another host wrote, or that a power cut may have torn.

Whatever the bytes are, the answer is an object or one `ValueError`, in time linear in their length.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_BYTES = 64 * 1024
"""No document that one side reads of the other is larger."""


class _NoNumber(ValueError):
    """NaN and infinities are Python's, not JSON's (RFC 8259, section 6)."""


def _refuse(constant: str) -> NoReturn:
    raise _NoNumber(f"{constant} is no JSON number")


_decode = json.JSONDecoder(parse_constant=_refuse).decode


def read_object(content: bytes, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in `content`, UTF-8 of at most `limit` bytes; of equal keys the last counts.

    Raises:
        ValueError: it is anything else; the text is one line, fit for a terminal.
    """
    if len(content) > limit:
        raise ValueError(f"larger than {limit} bytes")
    try:
        found = _decode(content.decode())
    except RecursionError:
        raise ValueError("not UTF-8 JSON: nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, or a number of many digits
        raise ValueError(f"not UTF-8 JSON: {error!s:.120}") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8; a `\\ud800` alone can't (RFC 8259, section 8.2)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """The text without anything that could talk to a terminal, forge a line, or not be written."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def shown(value: object, longest: int = 60) -> str:
    """A value of such a document as an error's text may show it: short, one line, never deep."""
    if isinstance(value, str):
        # Cut before and after: repr() makes ten characters of one.
        text = repr(value[: longest + 1])
        return text if len(text) <= longest + 2 else text[:longest] + "..."
    if value is None or isinstance(value, bool | int | float):
        return f"{value!r:.{longest}}"
    return f"a {type(value).__name__}"
