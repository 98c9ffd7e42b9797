"""What a program says on stderr while it runs: how far it is, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

_END = re.compile(rb"[\r\n]")  # a bar of progress begins its line anew
_LONGEST = 4096  # bytes; what is longer is no line that tells a percentage


class Hearing:
    """Takes stderr piece by piece; returns what is no progress.

    `pattern` has one group, a number of percent; without it nothing is progress. `tell` is given
    the share, from 0 to 1.
    """

    def __init__(self, pattern: str | None, tell: Callable[[float], None]) -> None:
        self._pattern = None if pattern is None else re.compile(pattern.encode())
        self._tell = tell
        self._line = b""

    @property
    def rest(self) -> bytes:
        """The beginning of a line that was never ended."""
        return self._line

    def __call__(self, piece: bytes) -> bytes:
        """Hear a piece."""
        if self._pattern is None:
            return piece
        text, kept, begin = self._line + piece, bytearray(), 0
        for end in _END.finditer(text):
            line = text[begin : end.start()]
            if not self._is_progress(line):
                kept += line + end[0]
            begin = end.end()
        self._line = text[begin:]
        if len(self._line) > _LONGEST:
            kept += self._line
            self._line = b""
        return bytes(kept)

    def _is_progress(self, line: bytes) -> bool:
        found = self._pattern and self._pattern.search(line[:_LONGEST])
        if not found:
            return False
        try:
            self._tell(float(found[1]) / 100)
        except (TypeError, ValueError):  # The group took no part in it, or is no number.
            return False
        return True
