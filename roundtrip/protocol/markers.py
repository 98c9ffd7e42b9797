"""Markers: the small JSON files that say a payload is complete and what it must hash to.

Reading is strict about types and lenient about what is absent, so that a ten-line shell script can
write one; unknown keys are ignored, so that newer versions can add some.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.documents import MAX_BYTES as MAX_BYTES
from roundtrip.protocol.documents import is_unicode, read_object, shown
from roundtrip.protocol.versions import PROTOCOL, NewerProtocol

VERSION = PROTOCOL
_MOST = 1 << 63
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Outcome(StrEnum):
    """What an answer is: all of it, some of it, none of it, or a wish to have it sent again."""

    ENRICHED = "enriched"
    PARTIAL = "partial"
    FAILED = "failed"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class Digest:
    """A payload's size in bytes and its SHA-256 in lower-case hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class RequestMarker:
    """What the requester says about a payload; `digest` is None if it says nothing to check."""

    exchange: str
    original_name: str
    digest: Digest | None = None
    pipeline: str | None = None
    created: str | None = None
    deadline: str | None = None
    attempt: int = 1
    sender: dict[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    signature: str | None = None

    def encode(self) -> bytes:
        """The marker as UTF-8 JSON."""
        return _encode(
            exchange=self.exchange,
            original_name=self.original_name,
            pipeline=self.pipeline,
            size=self.digest.size if self.digest else None,
            sha256=self.digest.sha256 if self.digest else None,
            created=self.created,
            deadline=self.deadline,
            attempt=self.attempt,
            sender=self.sender,
            traceparent=self.traceparent,
            signature=self.signature,
        )

    @classmethod
    def decode(cls, content: bytes, exchange: str) -> RequestMarker:
        """Read the marker of `exchange`; an empty one is a marker without a digest.

        Raises:
            NewerProtocol: a version of roundtrip to come wrote it.
            UnusableMarker: too large, not JSON, another exchange's, or a field of the wrong type.
        """
        if not content:
            return cls(exchange, original_name=exchange)
        fields = _Fields(content, exchange)
        return cls(
            exchange=exchange,
            original_name=fields.text("original_name") or exchange,
            digest=fields.digest(),
            pipeline=fields.text("pipeline"),
            created=fields.text("created"),
            deadline=fields.text("deadline"),
            attempt=fields.number("attempt", 1),
            sender=fields.texts("sender"),
            traceparent=fields.text("traceparent"),
            signature=fields.text("signature"),
        )


@dataclass(frozen=True, slots=True)
class ResponseMarker:
    """What the responder says about an answer, and which request it answers."""

    exchange: str
    outcome: Outcome
    digest: Digest
    request: Digest
    attempt: int
    stats: dict[str, float] = field(default_factory=dict)
    responder: dict[str, str] = field(default_factory=dict)
    created: str | None = None
    signature: str | None = None

    def encode(self) -> bytes:
        """The marker as UTF-8 JSON."""
        return _encode(
            exchange=self.exchange,
            outcome=self.outcome.value,
            size=self.digest.size,
            sha256=self.digest.sha256,
            request={
                "size": self.request.size,
                "sha256": self.request.sha256,
                "attempt": self.attempt,
            },
            stats=self.stats,
            responder=self.responder,
            created=self.created,
            signature=self.signature,
        )

    @classmethod
    def decode(cls, content: bytes, exchange: str) -> ResponseMarker:
        """Read the marker of the answer to `exchange`.

        Raises:
            NewerProtocol: a version of roundtrip to come wrote it.
            UnusableMarker: empty, too large, not JSON, another exchange's, or a field is missing or
                of the wrong type.
        """
        fields = _Fields(content, exchange)
        request = fields.nested("request")
        digest, asked = fields.digest(), request.digest()
        if digest is None or asked is None:
            raise UnusableMarker("the answer's marker lacks size and sha256 of answer and request")
        outcome = fields.text("outcome")
        if outcome not in set(Outcome):
            raise UnusableMarker(f"the answer's marker has an unknown outcome: {shown(outcome)}")
        return cls(
            exchange=exchange,
            outcome=Outcome(outcome),
            digest=digest,
            request=asked,
            attempt=request.number("attempt", 1),
            stats=fields.numbers("stats"),
            responder=fields.texts("responder"),
            created=fields.text("created"),
            signature=fields.text("signature"),
        )


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC with milliseconds: `2026-11-21T10:00:00.000Z`."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{_to_the_second(whole)}.{rest:03d}Z"


@lru_cache(maxsize=16)  # Most timestamps of a busy second share it.
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _encode(**fields: Any) -> bytes:
    present = {key: value for key, value in fields.items() if value is not None}
    return json.dumps({"v": VERSION, **present}).encode()


def _parse(content: bytes) -> dict[str, Any]:
    try:
        return read_object(content)
    except ValueError as error:
        raise UnusableMarker(f"the marker is {error}") from None


def _is_number(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)  # 1e999 is read as an infinity, which JSON can't say again.
    return type(value) is int and -_MOST < value < _MOST


class _Fields:
    """The members of a marker, each read with its type checked."""

    def __init__(self, content: bytes | dict[str, Any], exchange: str) -> None:
        self._exchange = exchange
        if isinstance(content, dict):
            self._fields = content
            return
        self._fields = _parse(content)
        self._check_version()
        named = self.text("exchange")
        if named is not None and named != exchange:
            raise UnusableMarker(f"the marker belongs to another exchange: {shown(named, 200)}")

    def _check_version(self) -> None:
        spoken = self._fields.get("v")
        if type(spoken) is int and VERSION < spoken < 1 << 31:
            raise NewerProtocol(spoken)
        if spoken != VERSION or spoken is True:
            raise UnusableMarker(
                f'the marker\'s "v" is {shown(spoken)}; this version reads {VERSION}'
            )

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._fields.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UnusableMarker(
                f"the marker's {key!r} should be a {kind.__name__}: {shown(value)}"
            )
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self._get(key, str, None)
        if value is not None and not is_unicode(value):
            raise UnusableMarker(f"the marker's {key!r} is not Unicode text: {shown(value)}")
        return value

    def number(self, key: str, default: int) -> int:
        value: int = self._get(key, int, default)
        if not 0 <= value < _MOST:
            raise UnusableMarker(f"the marker's {key!r} is out of range: {shown(value)}")
        return value

    def nested(self, key: str) -> _Fields:
        return _Fields(self._get(key, dict, {}), self._exchange)

    def texts(self, key: str) -> dict[str, str]:
        found = self._get(key, dict, {})
        return {
            name: value
            for name, value in found.items()
            if isinstance(value, str) and is_unicode(name) and is_unicode(value)
        }

    def numbers(self, key: str) -> dict[str, float]:
        found = self._get(key, dict, {})
        return {
            name: value for name, value in found.items() if is_unicode(name) and _is_number(value)
        }

    def digest(self) -> Digest | None:
        sha256 = self.text("sha256")
        if sha256 is None:
            return None
        if not _SHA256.fullmatch(sha256):
            raise UnusableMarker(
                f"the marker's 'sha256' is not 64 hexadecimal digits: {shown(sha256, 80)}"
            )
        size = self.number("size", -1) if "size" in self._fields else None
        if size is None:
            raise UnusableMarker("the marker has a 'sha256' but no 'size'")
        return Digest(size, sha256)
