"""JSON in and out with every number as it was written: no float, no 64-bit limit in between."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
BOM = b"\xef\xbb\xbf"


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


def indented(text: bytes) -> bytes:
    """The same JSON text, laid out for people."""
    return msgspec.json.format(text, indent=2)
