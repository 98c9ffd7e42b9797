"""A batch's answers handed to the records they belong to, by position or by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import jmespath

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.selecting import MISFIT
from roundtrip.enrich.settings import Batch
from roundtrip.template import Fields, Template

Search = Callable[[object], Any]


class Matching:
    """What a step's `batch` says about its answers; compiled once."""

    def __init__(self, batch: Batch) -> None:
        """ValueError, in one line, when `by`, `key` or `results` can't be used."""
        self._results = _compiled("results", batch.results)
        self._by_position = batch.by == "position"
        self._named = batch.by == "keys"
        self._of = None if self._by_position or self._named else _compiled("by", batch.by)
        if self._by_position:
            self._key = None
        elif batch.key is None:
            raise ValueError(f"batch: by {batch.by} needs the record's key: give batch.key")
        else:
            self._key = Template(batch.key)

    def key(self, fields: Fields) -> str:
        """What a record's answer is found by; RecordFault when the record lacks it."""
        return "" if self._key is None else self._key.render(fields, str)

    def answers(self, answer: object, keys: Sequence[str], where: str) -> list[object]:
        """Each record's answer, or the RecordFault that there is none, in the order of `keys`.

        RecordFault when the answer as a whole isn't what `batch` says.
        """
        found = self._search(self._results, answer, where)
        if self._by_position:
            return _in_order(found, len(keys), where)
        by_key = self._by_key(found, where)
        missing = RecordFault("Missing answer", f"{where}: no answer for this record in the batch")
        return [by_key.get(key, missing) for key in keys]

    def _by_key(self, found: object, where: str) -> Mapping[str, object]:
        if self._of is None:
            if not isinstance(found, Mapping):
                raise RecordFault("Unusable answer", f"{where}: the batch's answer is no object")
            return found
        by_key: dict[str, object] = {}
        for item in _listed(found, where):
            by_key.setdefault(_text(self._search(self._of, item, where)), item)
        return by_key

    def _search(self, search: Search, value: object, where: str) -> Any:
        try:
            return search(value)
        except MISFIT:
            raise RecordFault("Unusable answer", f"{where}: batch doesn't fit it") from None


def _compiled(name: str, expression: str) -> Search:
    try:
        search: Search = jmespath.compile(expression).search
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        raise ValueError(f"batch.{name}: {str(error).splitlines()[0]}") from None
    return search


def _listed(found: object, where: str) -> list[object]:
    if not isinstance(found, list):
        raise RecordFault("Unusable answer", f"{where}: the batch's answer is no list")
    return found


def _in_order(found: object, count: int, where: str) -> list[object]:
    answers = _listed(found, where)
    if len(answers) != count:
        detail = f"{where}: {len(answers)} answers for a batch of {count}"
        raise RecordFault("Unusable answer", detail)
    return answers


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float | Decimal) else ""
