"""A step's `select`: the members taken out of an answer, or all of it."""

from __future__ import annotations

from collections.abc import Mapping

import jmespath

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import RecordFault

# What a JMESPath raises on data that it doesn't fit. TypeError, too: jmespath compares texts with
# numbers (`age > `5`` where age is "x"), and that is data, no defect.
MISFIT = (
    jmespath.exceptions.JMESPathError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    *json_text.UNREADABLE,
)


class Selection:
    """Compiled once for each step. `where` begins a fault's text: `step geo: ...`."""

    def __init__(self, select: Mapping[str, str]) -> None:
        """ValueError, in one line, when a selector isn't valid."""
        self.names = tuple(select)
        self.identity = repr(sorted(select.items())).encode()  # for the keys of calls
        self._selectors = {}
        for name, text in select.items():
            try:
                self._selectors[name] = jmespath.compile(text)
            except (jmespath.exceptions.JMESPathError, ValueError) as error:
                raise ValueError(f"select.{name}: {str(error).splitlines()[0]}") from None
        # a selector's functions want ordinary floats; without any, numbers stay as written
        self.floats = any("(" in text for text in select.values())

    def read(self, text: bytes, where: str) -> object:
        """What is selected from a JSON text. Raises RecordFault."""
        return self.of(self.parsed(text, where), where)

    def parsed(self, text: bytes, where: str) -> object:
        """The JSON text's value; null when it is empty, RecordFault when it isn't JSON."""
        try:
            body = text.removeprefix(json_text.BOM)
            return json_text.received(body, floats=self.floats) if body.strip() else None
        except json_text.UNREADABLE:
            raise RecordFault("Unusable answer", f"{where} answered with no valid JSON") from None

    def of(self, value: object, where: str) -> object:
        """What is selected from a value; RecordFault when a selector can't work on it."""
        if not self._selectors:
            return value
        try:
            return {name: selector.search(value) for name, selector in self._selectors.items()}
        except MISFIT:
            raise RecordFault("Unusable answer", f"{where}: select doesn't fit it") from None
