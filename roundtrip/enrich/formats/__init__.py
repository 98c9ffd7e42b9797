"""Formats: how a payload becomes records and records a payload, in order and in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from roundtrip.enrich.faults import RecordFault

MAX_RECORD = 64 * 1024 * 1024  # bytes or characters; a larger record fails the payload


@dataclass(slots=True)
class Record:
    """One record. `fields` is what templates see and what answers are put into.

    `unreadable` is set when the record could not be read: then no step runs. `raw` is what stood
    there, in the format's own terms. `faults` has the error of each step that failed, by its
    `into`. `dropped` records stay out of the answer.
    """

    position: int  # the line it begins on, or its number in an array; from 1
    fields: dict[str, Any]
    size: int  # bytes or characters, for the memory bound
    raw: Any = None
    unreadable: RecordFault | None = None
    faults: dict[str, RecordFault] = field(default_factory=dict)
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a step adds to a table: a member of its answer, all of it, or its error."""

    name: str
    into: str
    member: str | None = None
    error: bool = False


class Writer(Protocol):
    """Writes records in the format that they came in."""

    def write(self, record: Record) -> None:
        """Write the next record, untouched but for what the steps put into it.

        Every record is to come here, dropped ones too: they are left out, but what stood between
        them and the record before may have to stay.
        """

    def close(self) -> None:
        """Write what ends the payload; the sink stays open. Raises PayloadFault if it is broken."""


class Format(Protocol):
    """One payload opened for reading. Made by `roundtrip.enrich.formats.opening.opened`."""

    @property
    def media_type(self) -> str:
        """What the enriched payload is."""

    def records(self) -> Generator[Record, None, None]:
        """The records in order. Raises PayloadFault, saying where, when there is no going on."""

    def writer(self, sink: BinaryIO) -> Writer:
        """A writer into `sink`, which is only ever appended to. To be made before reading."""


def places(columns: Sequence[Column]) -> tuple[str, ...]:
    """Where the steps put their answers: each `into` once, in the order of the steps."""
    return tuple(dict.fromkeys(column.into for column in columns))
