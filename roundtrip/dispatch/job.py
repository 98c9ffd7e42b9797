"""The two records of a job: what is asked, and what came of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roundtrip.protocol.documents import read_object
from roundtrip.protocol.markers import Digest, RequestMarker

VERSION = 1
MAX_BYTES = 256 * 1024
"""A record that is larger is none."""
_DIGITS = 16  # of a job's name


class Unreadable(ValueError):
    """A record is not what it should be."""


@dataclass(frozen=True, slots=True)
class Job:
    """One request, as far as enrichment is concerned."""

    exchange: str
    original_name: str
    digest: Digest
    pipeline: str | None = None

    @classmethod
    def of(cls, request: RequestMarker, digest: Digest) -> Job:
        """The job that a request asks for; `digest` is its payload's."""
        return cls(request.exchange, request.original_name, digest, request.pipeline)

    @property
    def name(self) -> str:
        """The exchange's name, and a digest of what is asked: another question is another job."""
        asked = [self.original_name, self.pipeline, self.digest.size, self.digest.sha256]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        return f"{self.exchange}.{digest[:_DIGITS]}"

    def encode(self) -> bytes:
        """The record as JSON."""
        return _encode(
            exchange=self.exchange,
            original_name=self.original_name,
            pipeline=self.pipeline,
            size=self.digest.size,
            sha256=self.digest.sha256,
        )

    @classmethod
    def decode(cls, record: bytes) -> Job:
        """Read a record; raises Unreadable."""
        found = _Members(record)
        return cls(
            exchange=found.text("exchange"),
            original_name=found.text("original_name"),
            digest=Digest(found.count("size"), found.text("sha256")),
            pipeline=found.maybe("pipeline"),
        )


def exchange_of(name: str) -> str:
    """The exchange that a job is for."""
    return name[: -_DIGITS - 1]


def addressed(queue: str, name: str) -> str:
    """What a message says: a job, and the id of the folder that it is in."""
    return f"{queue}/{name}"


def parted(message: str) -> tuple[str, str]:
    """The two parts of what a message says."""
    queue, _, name = message.rpartition("/")
    return queue, name


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a job has no payload as its result: the members of a problem document."""

    kind: str
    """`payload`, `pipeline`, `internal` or `workers`."""
    title: str
    detail: str
    status: int | None = None
    members: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job: a payload, the file `file` beside the record, or a `trouble`."""

    job: str
    worker: Mapping[str, str]
    ended: str
    outcome: str = "failed"
    stats: Mapping[str, float] = field(default_factory=dict)
    pipeline: str = ""
    file: str | None = None
    digest: Digest | None = None
    trouble: Trouble | None = None

    def encode(self) -> bytes:
        """The record as JSON."""
        trouble = self.trouble
        return _encode(
            job=self.job,
            outcome=self.outcome,
            stats=dict(self.stats),
            pipeline=self.pipeline,
            file=self.file,
            size=self.digest.size if self.digest else None,
            sha256=self.digest.sha256 if self.digest else None,
            problem=None
            if trouble is None
            else {
                "kind": trouble.kind,
                "title": trouble.title,
                "detail": trouble.detail,
                "status": trouble.status,
                "members": dict(trouble.members),
            },
            worker=dict(self.worker),
            ended=self.ended,
        )

    @classmethod
    def decode(cls, record: bytes) -> Result:
        """Read a record; raises Unreadable."""
        found = _Members(record)
        problem = found.mapping("problem")
        sha256 = found.maybe("sha256")
        return cls(
            job=found.text("job"),
            worker={key: str(value) for key, value in found.mapping("worker").items()},
            ended=found.maybe("ended") or "",
            outcome=found.text("outcome"),
            stats=numbers(found.mapping("stats")),
            pipeline=found.maybe("pipeline") or "",
            file=found.maybe("file"),
            digest=None if sha256 is None else Digest(found.count("size"), sha256),
            trouble=_trouble(problem) if problem else None,
        )


def _trouble(problem: Mapping[str, Any]) -> Trouble:
    status, members = problem.get("status"), problem.get("members")
    return Trouble(
        kind=str(problem.get("kind", "internal")),
        title=str(problem.get("title", "The job failed")),
        detail=str(problem.get("detail", "")),
        status=status if type(status) is int else None,
        members=members if isinstance(members, dict) else {},
    )


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Those members that are numbers."""
    return {
        str(key): value
        for key, value in found.items()
        if type(value) in (int, float) and math.isfinite(value)
    }


def _encode(**members: Any) -> bytes:
    present = {key: value for key, value in members.items() if value is not None}
    return json.dumps({"v": VERSION, **present}).encode()


class _Members:
    """The members of a record, each read with its type checked."""

    def __init__(self, record: bytes) -> None:
        try:
            self._found = read_object(record, MAX_BYTES)
        except ValueError as error:
            raise Unreadable(f"the record is {error}") from None
        if self._found.get("v") != VERSION:
            raise Unreadable(f"the record is of version {self._found.get('v')!r}, not {VERSION}")

    def maybe(self, key: str) -> str | None:
        value = self._found.get(key)
        if value is not None and not isinstance(value, str):
            raise Unreadable(f"the record's {key!r} is not text")
        return value

    def text(self, key: str) -> str:
        value = self.maybe(key)
        if value is None:
            raise Unreadable(f"the record has no {key!r}")
        return value

    def count(self, key: str) -> int:
        value = self._found.get(key)
        if type(value) is not int or value < 0:
            raise Unreadable(f"the record's {key!r} is not a count")
        return value

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self._found.get(key, {})
        return value if isinstance(value, dict) else {}
