"""A payload read and written again, with answers put in by hand where a test says so."""

from __future__ import annotations

import io
from collections.abc import Callable

from roundtrip.enrich.formats import Column, Record
from roundtrip.enrich.formats.opening import opened
from roundtrip.enrich.settings import Formats

GEO = (
    Column("geo.country", "geo", "country"),
    Column("geo.error", "geo", error=True),
)


def through(
    kind: str,
    payload: bytes,
    columns: tuple[Column, ...] = (),
    formats: Formats | None = None,
    *,
    answer: Callable[[Record], None] = lambda record: None,
) -> bytes:
    """Read a payload and write it again, after `answer` saw each record."""
    sink = io.BytesIO()
    found = opened(kind, io.BytesIO(payload), columns, formats)
    writer = found.writer(sink)
    for record in found.records():
        answer(record)
        writer.write(record)
    writer.close()
    return sink.getvalue()


def records(kind: str, payload: bytes, formats: Formats | None = None) -> list[Record]:
    return list(opened(kind, io.BytesIO(payload), (), formats).records())


def germany(record: Record) -> None:
    """What a step named geo would do."""
    if record.unreadable is None:
        record.fields["geo"] = {"country": "DE"}
