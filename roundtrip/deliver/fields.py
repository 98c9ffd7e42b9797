"""The fields that a delivery's templates can name: of the file, its name, a table, its record.

    file --> groups of the name --> row of the table --> first record of the result

What comes first wins, and what comes later is only looked at for a field that is still missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from roundtrip.deliver import records
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import FieldSettings
from roundtrip.deliver.table import Table
from roundtrip.errors import RecordFault
from roundtrip.template import Field, Template

OF_FILE = (
    "id", "delivery", "exchange", "outcome", "original_name", "name", "stem", "suffix", "pipeline",
    "path", "content", "original", "size", "sha256", "created", "ended", "attempt", "mail",
    "stats", "problem",
)  # fmt: skip
"""Fields that every file has, or may have."""


class Fielding:
    """Finds the fields of parcels, as far as templates name them."""

    def __init__(self, settings: FieldSettings) -> None:
        self._name = None if settings.name is None else re.compile(settings.name)
        lookup = settings.lookup
        self._key = None if lookup is None else Template(lookup.key)
        self._table = None if lookup is None else Table(lookup.file, lookup.column)
        self._record = settings.record

    async def of(self, parcel: Parcel, wanted: Iterable[Field]) -> dict[str, Any]:
        """The fields that the `wanted` are among.

        Raises:
            Undelivered: the table can't be read, or has no such row: somebody may mend that.
        """
        found = of_file(parcel)
        if self._name is not None and (match := self._name.fullmatch(parcel.original_name)):
            found = {**match.groupdict(), **found}
        missing = [field for field in wanted if not _has(found, field)]
        if missing and self._key is not None and self._table is not None:
            if any(not _has(found, field) for field in self._key.fields):
                found = await self._with_record(parcel, found)
            row = await self._table.row(_rendered(self._key, found))
            found = {**row, **found}
            missing = [field for field in missing if not _has(found, field)]
        return await self._with_record(parcel, found) if missing else found

    async def _with_record(self, parcel: Parcel, found: dict[str, Any]) -> dict[str, Any]:
        if not self._record or parcel.problem:
            return found
        return {**records.first(parcel), **found}


def _rendered(template: Template, found: Mapping[str, Any]) -> str:
    try:
        return template.render(found, str)
    except RecordFault as fault:
        raise Undelivered(False, fault.detail) from None


def _has(found: Mapping[str, Any], field: Field) -> bool:
    try:
        field.value(found)
    except RecordFault:
        return False
    return True


def of_file(parcel: Parcel) -> dict[str, Any]:
    """What is known of a file without a look into it; paths keep their bytes as surrogates."""
    found: Mapping[str, Any] = {
        "id": parcel.id,
        "delivery": parcel.delivery,
        "exchange": parcel.exchange,
        "outcome": parcel.outcome,
        "original_name": parcel.original_name,
        "name": parcel.path.name,
        "stem": parcel.path.stem,
        "suffix": parcel.path.suffix,
        "pipeline": parcel.pipeline,
        "path": str(parcel.path),
        "content": str(parcel.content),
        "original": None if parcel.original is None else str(parcel.original),
        "size": parcel.size,
        "sha256": parcel.sha256,
        "created": parcel.created,
        "ended": parcel.ended,
        "attempt": parcel.attempt,
        "mail": parcel.mail,
        "stats": dict(parcel.stats),
        "problem": dict(parcel.problem),
    }
    return {name: value for name, value in found.items() if value is not None}
