"""Which protocol this side speaks, what it can do beyond that, and whether the other side fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.documents import printable

PROTOCOL = 1
"""The `v` of every marker."""

FEATURES = ("canary", "progress", "resend")
"""What this side knows beyond the first version's contract; life signs carry the list."""

_LONGEST = 40  # characters of another side's version that are shown


class NewerProtocol(UnusableMarker):
    """A marker that is whole, and speaks a protocol which this side does not know yet."""

    def __init__(self, spoken: int) -> None:
        super().__init__(f"it speaks protocol {spoken}; this side speaks {PROTOCOL}")
        self.spoken = spoken


class Spoken(NamedTuple):
    """What a life sign says of its writer's version; None and empty if it says nothing usable."""

    version: str | None
    protocol: int
    features: frozenset[str]


def own() -> dict[str, Any]:
    """What our life signs say."""
    return {"protocol": PROTOCOL, "features": list(FEATURES)}


def spoken_by(fields: Mapping[str, Any]) -> Spoken:
    """What a life sign's fields say; the first agents said nothing of protocols, and spoke 1."""
    protocol = fields.get("protocol")
    features = fields.get("features")
    return Spoken(
        version=_plain(fields.get("version")),
        protocol=protocol if type(protocol) is int and 0 < protocol < 1 << 31 else 1,
        features=frozenset(str(each)[:_LONGEST] for each in features[:100])
        if isinstance(features, list)
        else frozenset(),
    )


def _plain(version: object) -> str | None:
    """A version fit for a terminal and a log; another host wrote it."""
    if not isinstance(version, str) or not version:
        return None
    return printable(version[:_LONGEST])
