"""Problem documents (RFC 9457): why an exchange failed, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from roundtrip.protocol.documents import read_object, shown

MAX_BYTES = 1024 * 1024
"""A document that is larger is not read as one, only its beginning is shown."""
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "tag:roundtrip,2026:"
_LONGEST = 20_000  # characters of a member
_LONGEST_KIND = 200


def extended(document: bytes, members: Mapping[str, object]) -> bytes | None:
    """A problem document with more members, in place of its own; None if it is no JSON object."""
    try:
        found = {**read_object(document, MAX_BYTES), **members}
        return json.dumps(found, indent=2).encode() + b"\n"
    except (ValueError, RecursionError):  # What could be read may be too deep to be written.
        return None


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: `kind` is a stable word for programs, `title` and `detail` are for people.

    `members` are further ones (RFC 9457 section 3.2); they are written, not read.
    """

    kind: str
    title: str
    detail: str
    exchange: str
    status: int | None = None
    members: Mapping[str, object] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The document as UTF-8 JSON; members as RFC 9457 section 3.1 names them."""
        document = {
            **self.members,
            "type": TYPE_PREFIX + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.exchange,
        }
        present = {key: value for key, value in document.items() if value is not None}
        return json.dumps(present, indent=2).encode() + b"\n"

    def extended(self, members: Mapping[str, object]) -> bytes:
        """The same document with more members (RFC 9457 section 3.2)."""
        return extended(self.encode(), members) or self.encode()

    @classmethod
    def decode(cls, document: bytes, exchange: str) -> Problem:
        """Read a problem document leniently: whatever is missing or odd becomes plain text."""
        try:
            found = read_object(document, MAX_BYTES)
        except ValueError:
            return cls(
                "unreadable", "The answer says that it failed", repr(document[:200]), exchange
            )
        status = found.get("status")
        return cls(
            kind=_text(found.get("type"), "about:blank").removeprefix(TYPE_PREFIX)[:_LONGEST_KIND],
            title=_text(found.get("title"), "The exchange failed"),
            detail=_text(found.get("detail"), ""),
            exchange=exchange,
            status=status if type(status) is int and abs(status) < 1 << 31 else None,
        )

    def as_dict(self) -> dict[str, object]:
        """The problem's fields, for `--json` output and logs."""
        return asdict(self)


def _text(value: object, default: str) -> str:
    """A member that should be text: what it is if it isn't, and nothing that can't be written."""
    if value is None:
        return default
    text = value if isinstance(value, str) else shown(value)
    return text[:_LONGEST].encode(errors="replace").decode()
