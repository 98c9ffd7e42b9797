"""JSON text read a piece at a time: values, marks, and what is passed over unread."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PayloadFault
from roundtrip.enrich.formats import MAX_RECORD

CHUNK = 128 * 1024  # bytes
TOKEN = 16  # characters: a break this near the end of the text may be a token cut in two
LARGE = 1024 * 1024  # characters; a larger value that nobody wants is passed over in parts

_SPACE = re.compile(r"[ \t\r\n]*")
_CLOSERS = {"[": "]", "{": "}"}


class SlidingText:
    """The payload's text, a piece at a time; what was read is let go, or handed on (`echo`).

    Values are found with the standard library's scanner. (ijson's C parser ends the whole process
    on an integer of more than 4,300 digits and turns lone surrogates into `?`; both seen with 3.6.)
    """

    def __init__(self, source: BinaryIO) -> None:
        self.number = 0  # of the record that is being read, if any
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder(parse_float=json_text.exact, parse_constant=_no).raw_decode
        self._text, self._at = "", 0
        self._line, self._column = 1, 1  # of where the text begins
        self._ended = False
        self._echo: Callable[[str], object] | None = None
        self._mark = 0  # where the text begins that is still to be echoed

    def echo(self, to: Callable[[str], object] | None) -> None:
        """Hand on all text that is read from here; None: no more of it."""
        self._hand_on()
        self._echo = to
        self._mark = self._at

    def peek(self) -> str:
        """The next character that isn't white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Step over one character."""
        self._at += 1

    def value(self) -> tuple[Any, str]:
        """The value that begins here, and its text."""
        found = self._value(MAX_RECORD)
        if found is None:
            raise self.fault(f"a record is longer than {MAX_RECORD} characters")
        value, size = found
        self._at += size
        return value, self._text[self._at - size : self._at]

    def key(self) -> str:
        """Step over a member's name and its colon; the name."""
        if self.peek() != '"':
            raise self.fault("expected a member's name in double quotes")
        name, _ = self.value()
        if self.peek() != ":":
            raise self.fault("expected ':'")
        self.skip()
        self.peek()
        return str(name)

    def follows(self, closer: str) -> bool:
        """Step over a comma (True) or the closer (False); anything else is a fault."""
        mark = self.peek()
        if mark not in (",", closer):
            kind = "array" if closer == "]" else "object"
            raise self.fault(f"expected ',' or {closer!r}" if mark else f"the {kind} has no end")
        self.skip()
        if mark == ",":
            self.peek()
        return mark == ","

    def enter(self) -> str:
        """Step over an opening brace or bracket; its closer, or nothing if it closes at once."""
        closer = _CLOSERS[self._text[self._at]]
        self.skip()
        if self.peek() != closer:
            return closer
        self.skip()
        return ""

    def pass_over(self) -> None:
        """Step over the value that begins here, however large; memory stays constant."""
        inside: list[str] = []
        while True:
            self.peek()
            if found := self._value(LARGE):
                self._at += found[1]
            elif closer := self.enter():
                inside.append(closer)
                if closer == "}":
                    self.key()
                continue
            while inside and not self.follows(inside[-1]):
                inside.pop()
            if not inside:
                return
            if inside[-1] == "}":
                self.key()

    def fault(self, why: str, at: int | None = None) -> PayloadFault:
        """The error that says where: line and column, and the record's number within an array."""
        at = self._at if at is None else at
        line, column = self._place(at)
        position = {"line": line, "column": column}
        detail = f"line {line} column {column}: {why}"
        if self.number:
            position["record"] = self.number
            detail = f"record {self.number}, {detail}"
        return PayloadFault("Unreadable payload", detail, position=position)

    def _value(self, most: int) -> tuple[Any, int] | None:
        """The value that begins here and its length; None if it is a container beyond `most`."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._beyond(most):
                    return None
                if not (self._cut(error) and self._more()):
                    raise self.fault(error.msg, error.pos) from None
            except RecursionError:
                raise self.fault("a value is nested too deeply") from None
            except ValueError as error:
                raise self.fault(str(error).split(";")[0]) from None
            else:
                # a number near the end of the text may go on in the next piece (`1`, `1.`, `1e+`)
                whole = end + TOKEN < len(self._text) or not isinstance(value, int | Decimal)
                if whole or not self._more():
                    return value, end - self._at

    def _beyond(self, most: int) -> bool:
        return len(self._text) - self._at > most and self._text[self._at] in _CLOSERS

    def _place(self, at: int) -> tuple[int, int]:
        begin = self._text.rfind("\n", 0, at)
        if begin < 0:
            return self._line, self._column + at
        return self._line + self._text.count("\n", 0, at), at - begin

    def _cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated") or error.pos > len(self._text) - TOKEN

    def _hand_on(self) -> None:
        if self._echo is not None and self._at > self._mark:
            self._echo(self._text[self._mark : self._at])
            self._mark = self._at

    def _more(self) -> bool:
        """Read on, letting go of what was consumed; False at the end."""
        if self._ended:
            return False
        rest = len(self._text) - self._at
        if rest > MAX_RECORD:
            raise self.fault(f"a record is longer than {MAX_RECORD} characters")
        piece = self._source.read(max(CHUNK, rest))  # doubling: a long record isn't read n times
        self._ended = not piece
        try:
            text = self._decoder.decode(piece, final=self._ended)
        except UnicodeDecodeError:
            raise self.fault("the text after this is not UTF-8") from None
        self._hand_on()
        self._line, self._column = self._place(self._at)
        self._text = self._text[self._at :] + text
        self._at = self._mark = 0
        return True


def _no(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
