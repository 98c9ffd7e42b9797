"""JSON in and out with every number as it was written: no float, no 64-bit limit in between."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
BOM = b"\xef\xbb\xbf"
DEEP = 500  # brackets and braces that a text must have before its nesting is a question
ROOM = 10  # levels that a value may get around it
STACK = 100  # levels of the stack kept free


def exact(number: str) -> Decimal:
    """A number with a fraction or an exponent, as written; ValueError if its exponent is absurd."""
    try:
        return Decimal(number)
    except InvalidOperation:
        raise ValueError("a number's exponent is out of range") from None


_encoder = msgspec.json.Encoder(decimal_format="number")
_exact = msgspec.json.Decoder(float_hook=exact)
_plain = msgspec.json.Decoder()


def encode(value: object) -> bytes:
    """Compact UTF-8. One of `UNREADABLE` for lone surrogates and too deep nesting."""
    return _encoder.encode(value)


def decode(text: bytes, *, floats: bool = False) -> object:
    """The value; one of `UNREADABLE` when the text isn't JSON, or nested too deeply.

    Fractions become Decimal, or with `floats` float (for arithmetic in selectors).
    """
    return (_plain if floats else _exact).decode(text)


def received(text: bytes, *, floats: bool = False) -> object:
    """The same for a text that others wrote, and whose value is to be written again.

    RecursionError already when it is nested almost as deeply as can be written: an answer gets a
    few levels more on its way into a record, and is written further down the stack.
    """
    if len(text) > 2 * DEEP and text.count(b"[") + text.count(b"{") > DEEP:
        try:
            return _with_room(STACK, b"[" * ROOM + text + b"]" * ROOM, floats)
        except (msgspec.MsgspecError, ValueError):
            pass  # to say where, without the brackets around it
    return decode(text, floats=floats)


def _with_room(stack: int, text: bytes, floats: bool) -> object:
    if stack:  # until Python 3.11, the parser's levels and ours count together
        return _with_room(stack - 1, text, floats)
    value: Any = decode(text, floats=floats)
    for _ in range(ROOM):
        (value,) = value
    return value


def appended(text: bytes, members: dict[str, object]) -> bytes:
    """The text of an object with members put at its end; what is there stays byte for byte.

    `text` ends with the object's brace. Raises as `encode` does.
    """
    if not members:
        return text
    body = text[:-1].rstrip()
    comma = b"" if body == b"{" else b","
    return body + comma + _encoder.encode(members)[1:]


def indented(text: bytes) -> bytes:
    """The same JSON text, laid out for people. One of `UNREADABLE` as for `encode`."""
    return msgspec.json.format(text, indent=2)
