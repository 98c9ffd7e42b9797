"""The parts that an XML payload is cut into: records, and what stands between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from roundtrip.enrich.faults import RecordFault


@dataclass(slots=True)
class Stretch:
    """Bytes of the payload: `text`, or, when that is empty, those from `begin` to `end`."""

    text: bytes = b""
    begin: int = 0
    end: int = 0


@dataclass(slots=True)
class Found:
    """A record: its fields, its bytes, and those before it."""

    number: int
    name: str
    fields: dict[str, Any]
    before: Stretch
    text: bytes
    end_tag: int  # where the end tag begins in `text`
    empty: bool  # whether it is written as `<a/>`
    first_child: int  # where it begins in `text`; 0: there is none
    children: list[tuple[str, int, int]]  # those that may give way: name, begin, end
    unreadable: RecordFault | None = None
    held: dict[str, Any] = field(default_factory=dict)
