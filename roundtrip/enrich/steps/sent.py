"""What a step on this host gets of a record: all of it, or what `send` names."""

from __future__ import annotations

from collections.abc import Sequence

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.settings import StepSettings
from roundtrip.template import Field, Fields


class Sent:
    """The fields that `send` names, of those that a record has; all of them when it names none."""

    def __init__(self, settings: StepSettings) -> None:
        send = settings.send
        self._fields = None if send is None or "*" in send else [Field(name) for name in send]

    def allows(self, field: Field) -> bool:
        """Whether the field is sent."""
        if self._fields is None:
            return True
        return any(f"{field.name}.".startswith(f"{sent.name}.") for sent in self._fields)

    def chosen(self, fields: Fields) -> dict[str, object]:
        """The record as far as it is sent."""
        return dict(fields) if self._fields is None else _chosen(self._fields, fields)

    def some(self, fields: Fields) -> dict[str, object]:
        """The same; RecordFault when the record has none of the fields that are sent.

        For calls of other hosts, which may be paid for: an empty object asks for nothing.
        """
        chosen = self.chosen(fields)
        if self._fields and not chosen:
            names = ", ".join(repr(field.name) for field in self._fields)
            raise RecordFault("Missing field", f"the record has no field {names} (send)")
        return chosen

    def text(self, fields: Fields) -> bytes:
        """The record as a JSON object. RecordFault when it can't be written as one."""
        return written(self.chosen(fields))


def written(value: object) -> bytes:
    """A record's values as JSON. RecordFault when they can't be written so."""
    try:
        return json_text.encode(value)
    except json_text.UNREADABLE:
        raise RecordFault("Unusable field", "the record can't be written as JSON") from None


def _chosen(wanted: Sequence[Field], fields: Fields) -> dict[str, object]:
    chosen = {}
    for field in wanted:
        try:
            chosen[field.name] = field.value(fields)
        except RecordFault:
            continue  # the record has none: a program can tell that from its absence
    return chosen
