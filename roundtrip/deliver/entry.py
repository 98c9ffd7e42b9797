"""An entry of the queue: what is to be delivered, and how it went so far, as a small file.

state/deliveries/<delivery>/<exchange>.json     the entry
state/deliveries/<delivery>/~<exchange>         the content: a hard link to the result
state/deliveries/<delivery>/dead/               both, once nobody tries any more
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from roundtrip.deliver.port import Parcel
from roundtrip.protocol.documents import read_object
from roundtrip.protocol.names import is_exchange

DEAD = "dead"
"""The folder, inside a delivery's, of what is tried no more."""
SUFFIX = ".json"
_CONTENT = "~"
MAX_BYTES = 1024 * 1024
"""More than an entry can have: what a marker of 64 KiB says, all of it escaped, and a problem."""
_LONGEST = 2000  # characters of the last error


@dataclass(frozen=True, slots=True)
class Entry:
    """What the queue holds of one parcel. Times of day are seconds since 1970.

    `queued` is when it became due, `next` when it is tried again; `error` is the last attempt's.
    `settled` are the recipients that are not tried again: see `Parcel.settled`.
    """

    exchange: str
    outcome: str
    original_name: str
    path: str
    size: int
    sha256: str
    created: str
    ended: str
    queued: float
    pipeline: str | None = None
    stats: Mapping[str, float] = field(default_factory=dict)
    problem: Mapping[str, Any] = field(default_factory=dict)
    original: str | None = None
    mail: str | None = None
    attempts: int = 0
    error: str | None = None
    next: float | None = None
    settled: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The entry as JSON; surrogates survive as escapes."""
        return json.dumps({"v": 1, **asdict(self)}).encode()

    def parcel(self, delivery: str, folder: Path) -> Parcel:
        """What an adapter gets; `folder` is the delivery's own."""
        return Parcel(
            delivery=delivery,
            exchange=self.exchange,
            outcome=self.outcome,
            original_name=self.original_name,
            path=Path(self.path),
            content=folder / content_of(self.exchange),
            size=self.size,
            sha256=self.sha256,
            created=self.created,
            ended=self.ended,
            pipeline=self.pipeline,
            stats=self.stats,
            problem=self.problem,
            original=None if self.original is None else Path(self.original),
            mail=self.mail,
            attempt=self.attempts + 1,
            settled=self.settled,
        )

    def anew(self, queued: float) -> Entry:
        """The entry as if it had not been tried, but for the recipients that have it."""
        served = {recipient: why for recipient, why in self.settled.items() if not why}
        return replace(self, queued=queued, attempts=0, error=None, next=None, settled=served)

    def after(
        self, error: str, again: float | None, settled: Mapping[str, str] | None = None
    ) -> Entry:
        """The entry after another attempt that failed; `settled` are the recipients it settled."""
        text = error if len(error) <= _LONGEST else error[:_LONGEST] + "..."
        return replace(
            self,
            attempts=self.attempts + 1,
            error=text,
            next=again,
            settled={**self.settled, **(settled or {})},
        )


def content_of(exchange: str) -> str:
    """The name of an exchange's content; its extension stays, and no entry is called so."""
    return _CONTENT + exchange


def owner_of(name: str) -> str | None:
    """The exchange whose content this name is; None for another name."""
    return name.removeprefix(_CONTENT) if name.startswith(_CONTENT) else None


def file_of(exchange: str) -> str:
    """The name of an exchange's entry."""
    return exchange + SUFFIX


def exchange_of(name: str) -> str | None:
    """The exchange whose entry this name is; None for another name."""
    exchange = name.removesuffix(SUFFIX)
    return exchange if exchange != name and is_exchange(exchange) else None


_TYPES: dict[str, type | tuple[type, ...]] = {
    "outcome": str,
    "original_name": str,
    "path": str,
    "size": int,
    "sha256": str,
    "created": str,
    "ended": str,
    "queued": (int, float),
    "attempts": int,
    "stats": dict,
    "problem": dict,
}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "pipeline": str,
    "original": str,
    "mail": str,
    "error": str,
    "next": (int, float),
    "settled": dict,
}


def decode(content: bytes, exchange: str) -> Entry:
    """Read an entry.

    Raises:
        ValueError: it is none, or another exchange's; in one line.
    """
    found = read_object(content, MAX_BYTES)
    if found.get("exchange") != exchange:
        raise ValueError("it is another exchange's")
    kinds = {**_TYPES, **_OPTIONAL}
    for key, kind in kinds.items():
        value = found.get(key)
        if not (isinstance(value, kind) or (value is None and key in _OPTIONAL)):
            raise ValueError(f"its {key} is missing or of the wrong type")
    given = {key: found[key] for key in kinds if found.get(key) is not None}
    return Entry(exchange=exchange, **given)
