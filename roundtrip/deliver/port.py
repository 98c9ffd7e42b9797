"""The port to a receiver: what is handed over, and how a receiver says that it didn't get it.

A `Delivery` adapter is made once for each delivery of the configuration, inside the agent's event
loop, and its `deliver` may be called for several parcels at once. Whatever keeps the order, tries
again, gives up and remembers all that after a crash is the runner's: an adapter hands one parcel
over, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

VERSION = 1
"""Of the event's form, as `Parcel.event` makes it: its member `v`."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One end of an exchange on its way to one receiver.

    A receiver may get the same parcel more than once, always with the same `id`, and has to drop
    the doubles if they matter.
    """

    delivery: str
    """The delivery's name in the configuration."""
    exchange: str
    outcome: str
    """`enriched`, `partial` or `failed`."""
    original_name: str
    """May hold surrogates for bytes that are not UTF-8 (PEP 383); see `printable`."""
    path: Path
    """Where applications find it: in inbox/, or the problem document in failed/. They may have
    taken it from there."""
    content: Path
    """The same file under a name that is the agent's own and stays until the delivery is over. For
    reading only: it is a hard link, so what is written to one is in the other."""
    size: int
    """Bytes of the file."""
    sha256: str
    created: str
    """When the exchange began, RFC 3339 in UTC."""
    ended: str
    """When its answer was ready, RFC 3339 in UTC."""
    pipeline: str | None = None
    stats: Mapping[str, float] = field(default_factory=dict)
    """What B counted: `records`, `ok`, `failed`, `calls`, `cached`, `seconds`."""
    problem: Mapping[str, Any] = field(default_factory=dict)
    """Of a failed exchange: its problem document (RFC 9457), or what of it is short."""
    original: Path | None = None
    """Of a failed exchange: its original in failed/."""
    mail: str | None = None
    """The address that the sender of the exchange wants its end mailed to."""
    attempt: int = 1
    """Which attempt at delivering this is. One that the agent's own end cut short isn't counted."""
    settled: Mapping[str, str] = field(default_factory=dict)
    """Recipients of this parcel that need no attempt any more, if a delivery has several: with ""
    those who have it, else why they will never take it. From `Undelivered.settled`."""

    @property
    def id(self) -> str:
        """What all attempts at this delivery have in common, and no other delivery has."""
        return f"{self.exchange}/{self.delivery}"

    def event(self) -> dict[str, Any]:
        """What receivers are told, as an object for JSON (documented in docs/reference)."""
        found = {
            "v": VERSION,
            "id": self.id,
            "delivery": self.delivery,
            "exchange": self.exchange,
            "outcome": self.outcome,
            "original_name": printable(self.original_name),
            "pipeline": self.pipeline,
            "path": printable(str(self.path)),
            "size": self.size,
            "sha256": self.sha256,
            "created": self.created,
            "ended": self.ended,
            "stats": dict(self.stats),
        }
        if self.problem:
            found["problem"] = dict(self.problem)
        if self.original is not None:
            found["original"] = printable(str(self.original))
        return found


def printable(name: str) -> str:
    """A name in which bytes that are not UTF-8 are replaced: U+FFFD (Unicode 3.9, table 3-8)."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Undelivered(Exception):
    """The receiver didn't get the parcel, as far as is known.

    With `passing` it is tried again until the delivery expires, else the parcel is dead at once.
    `text` says why, in one line without secrets. With `away` the receiver itself can't be reached,
    so it is not tried with other parcels either before the pause is over. `after` is the pause in
    seconds that the receiver asked for. `settled` are recipients of this parcel that must not be
    tried again; the next attempt finds them in `Parcel.settled`.
    """

    def __init__(
        self,
        passing: bool,
        text: str,
        *,
        away: bool = False,
        after: float | None = None,
        settled: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.passing = passing
        self.text = text
        self.away = away
        self.after = after
        self.settled = dict(settled or {})


@runtime_checkable
class Delivery(Protocol):
    """Hands parcels to one receiver."""

    async def deliver(self, parcel: Parcel) -> None:
        """Return once the receiver has the parcel for good.

        It is cancelled when the delivery's time limit has passed, and when the agent ends.

        Raises:
            Undelivered: the receiver hasn't got it; any other exception counts as a passing one.
        """

    async def aclose(self) -> None:
        """Give back connections; nothing is delivered afterwards."""


@runtime_checkable
class Listening(Protocol):
    """What a `Delivery` may have as well: receivers come to it, so it begins with the agent."""

    async def open(self) -> None:
        """Begin to listen; harmless if it does already.

        Raises:
            Undelivered: it can't; it is tried again.
        """
