"""Problem documents (RFC 9457): why an exchange failed, for programs and for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "tag:roundtrip,2026:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: `kind` is a stable word for programs, `title` and `detail` are for people."""

    kind: str
    title: str
    detail: str
    exchange: str
    status: int | None = None

    def encode(self) -> bytes:
        """The document as UTF-8 JSON; members as RFC 9457 section 3.1 names them."""
        document = {
            "type": TYPE_PREFIX + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.exchange,
        }
        present = {key: value for key, value in document.items() if value is not None}
        return json.dumps(present, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, document: bytes, exchange: str) -> Problem:
        """Read a problem document leniently: whatever is missing or odd becomes plain text."""
        try:
            found = json.loads(document)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            return cls(
                "unreadable", "The answer says that it failed", repr(document[:200]), exchange
            )
        status = found.get("status")
        return cls(
            kind=str(found.get("type", "about:blank")).removeprefix(TYPE_PREFIX),
            title=str(found.get("title", "The exchange failed")),
            detail=str(found.get("detail", "")),
            exchange=exchange,
            status=status if isinstance(status, int) else None,
        )

    def as_dict(self) -> dict[str, object]:
        """The problem's fields, for `--json` output and logs."""
        return asdict(self)
