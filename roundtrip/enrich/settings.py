"""What a pipeline is told to do: plain, frozen values that config/ builds and enrich/ obeys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is tried in all, and the longest pause between two tries in seconds."""

    attempts: int = 5
    max_delay: float = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `calls` calls in each `seconds` seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HttpStep:
    """One HTTP call for each record (or for the whole payload, when the format is raw).

    `url`, `query` values, `headers` values and `body` may hold `{field}` templates; secrets in them
    have been put in already. `select` maps an output field to a JMESPath over the response.
    """

    name: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    query: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    json: object | None = None
    body: str | None = None
    select: Mapping[str, str] = field(default_factory=dict)
    into: str | None = None  # default: the step's name
    on_error: str = "annotate"  # annotate | drop | fail
    cache: float | None = None  # seconds an answer may be reused; None: only within one payload
    rate: Rate | None = None
    concurrency: int = 20
    timeout: float = 30.0
    retry: Retry = field(default_factory=Retry)
    idempotent: bool | None = None  # None: by method (RFC 9110 section 9.2.2)
    max_response: int = 64 * 1024 * 1024  # bytes of one answer, decoded; format raw has no bound


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A named list of steps, and the original names (globs) that it is for."""

    name: str
    steps: tuple[HttpStep, ...]
    match: tuple[str, ...] = ("*",)
    format: str = "auto"  # auto | csv | json | jsonl | raw
