"""The configuration file's keys: their types, defaults and the checks of single values."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from roundtrip.config import texts, units
from roundtrip.enrich.settings import Rate

STEP_KINDS = ("http",)
LATER_STEP_KINDS = ("command", "plugin")  # in the contract, not in this version

T = TypeVar("T")


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def _not_yet(word: str, instead: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value == word:
            raise ValueError(f"this version does not have {word} yet; use {instead}")
        return value

    return BeforeValidator(check)


def _json_value(value: object) -> object:
    if isinstance(value, str):
        if "${" in value:
            raise ValueError("has ${...}, which is not filled in here; use headers, query or body")
        texts.check_fields(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("has a number that JSON can't hold; write it as text or leave it out")
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _json_value(item)
    return value


class Shorthand:
    """Lets a path stand for the mapping `{path: ...}`, and `off` for none where that is allowed."""

    def __init__(self, *, off: bool = False) -> None:
        self.off = off

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.spell_out, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        shorts: list[dict[str, Any]] = [{"type": "string", "minLength": 1}]
        if self.off:
            shorts.append({"const": False})
        return {"anyOf": [*shorts, handler(schema)]}

    def spell_out(self, value: object) -> object:
        """Return the mapping that a short form stands for, or None for `off`."""
        if self.off and (value is False or value == "off"):
            return None
        if isinstance(value, str):
            return {"path": value}
        if not isinstance(value, dict):
            words = "a path, a mapping or off" if self.off else "a path or a mapping"
            raise ValueError(f"must be {words}, not {units.shown(value)}")
        return value


def _written(number: str, pattern: str) -> WithJsonSchema:
    texts_and_numbers = [{"type": number, "minimum": 0}, {"type": "string", "pattern": pattern}]
    return WithJsonSchema({"anyOf": texts_and_numbers})


_duration_schema = _written("number", units.DURATION_PATTERN)
Duration = Annotated[float, BeforeValidator(units.parse_duration), _duration_schema]
Pause = Annotated[
    float, BeforeValidator(units.parse_duration), AfterValidator(_positive), _duration_schema
]
Size = Annotated[int, BeforeValidator(units.parse_size), _written("integer", units.SIZE_PATTERN)]
Calls = Annotated[
    Rate,
    PlainValidator(units.parse_rate),
    WithJsonSchema({"type": "string", "pattern": units.RATE_PATTERN}),
]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
PathText = Annotated[str, AfterValidator(texts.check_path)]
Name = Annotated[str, AfterValidator(texts.check_name)]
Glob = Annotated[str, AfterValidator(texts.check_glob)]
Template = Annotated[str, AfterValidator(texts.check_template)]
Header = Annotated[str, AfterValidator(texts.check_header)]
HeaderName = Annotated[str, AfterValidator(texts.check_header_name)]
SecretName = Annotated[str, AfterValidator(texts.check_secret_name)]
Selector = Annotated[str, AfterValidator(texts.check_selector)]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"]


class Model(BaseModel):
    """What all parts of the file have in common: unknown keys and near-enough types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class UnenrichedModel(Model):
    """The share of requests."""

    path: PathText = Field(
        default="Unenriched", description="Folder of requests; its home is host B."
    )
    empty_marker: Literal["accept", "refuse"] = Field(
        default="accept", description="Whether an empty marker, one without a digest, is a request."
    )


class EnrichedModel(Model):
    """The share of responses."""

    path: PathText = Field(
        default="Enriched", description="Folder of responses; its home is host A."
    )


class SharesModel(Model):
    """The two folders that both hosts see."""

    unenriched: Annotated[UnenrichedModel, Shorthand()] = Field(default_factory=UnenrichedModel)
    enriched: Annotated[EnrichedModel, Shorthand()] = Field(default_factory=EnrichedModel)


class OutboxModel(Model):
    """Where applications drop files."""

    path: PathText = Field(
        default="outbox", description="Folder that applications on host A write into."
    )
    complete: Literal["close_write", "moved_to", "done"] = Field(
        default="close_write", description="What says that a file in the outbox is complete."
    )
    settle: Duration = Field(default=0.0, description="How long a file must have been left alone.")
    ignore: list[Glob] = Field(
        default=[], description="Names to leave alone, besides the built-in ones."
    )


class ArchiveModel(Model):
    """Where answered originals go."""

    path: PathText = Field(default="archive", description="Folder of originals that were answered.")
    keep: Pause | None = Field(
        default=None, description="How long they are kept; without it, for ever."
    )


class WatchModel(Model):
    """How the agent learns that a folder has changed."""

    backend: Annotated[
        Literal["auto", "inotify", "poll"], _not_yet("fanotify", "auto, inotify or poll")
    ] = Field(default="auto", description="What wakes the agent.")
    interval: Pause = Field(default=1.0, description="How often poll looks.")


class LimitsModel(Model):
    """What an agent takes on, and how often it tries again."""

    exchanges: Count = Field(default=64, description="Exchanges handled at once.")
    attempts: Count = Field(default=5, description="Times A publishes one exchange.")
    answers: Count = Field(default=10, description="Times B answers the same request.")
    payload: Size | None = Field(
        default=None, description="Largest request payload that B accepts."
    )


class TimingModel(Model):
    """Pauses."""

    heartbeat: Pause = Field(default=30.0, description="How often a sign of life is renewed.")
    settle: Duration = Field(
        default=1.0, description="Wait before a marker made in place is believed."
    )
    grace: Duration = Field(default=60.0, description="Wait before a broken state is quarantined.")
    rescan: Pause = Field(default=300.0, description="How often a full listing is made.")


class LogModel(Model):
    """What the agent logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level."
    )


class RetryModel(Model):
    """How a failed call is tried again."""

    attempts: Count = Field(default=5, description="Tries in all.")
    max_delay: Duration = Field(default=60.0, description="Longest pause between two tries.")


class HttpModel(Model):
    """One HTTP request."""

    url: Annotated[str, AfterValidator(texts.check_url)] = Field(
        description="Where to; {field} is a percent-encoded record field, in path and query only."
    )
    method: Method = Field(default="GET", description="The request's method.")
    headers: dict[HeaderName, Header] = Field(default={}, description="Header values.")
    query: dict[str, Template] = Field(
        default={}, description="Query parameters, added to the URL's."
    )
    json_: Annotated[Any, BeforeValidator(_json_value)] = Field(
        default=None, alias="json", description="Body as data; {field} in its texts is filled in."
    )
    body: Template | None = Field(default=None, description="Body as text.")
    idempotent: bool | None = Field(
        default=None, description="Whether a repeated call does no harm; without it, by method."
    )


class StepModel(Model):
    """One enrichment."""

    name: Name = Field(description="The step's name.")
    http: HttpModel
    select: dict[str, Selector] = Field(
        default={}, description="Output field: JMESPath of the response."
    )
    into: Name | None = Field(
        default=None, description="Where the result goes; without it, the name."
    )
    on_error: Literal["annotate", "drop", "fail"] = Field(
        default="annotate", description="What becomes of a record whose call failed."
    )
    cache: Duration | None = Field(
        default=None, description="How long an answer may be used again."
    )
    rate: Calls | None = Field(default=None, description="Most calls in a time.")
    concurrency: Count = Field(default=20, description="Calls at once.")
    timeout: Pause = Field(default=30.0, description="Longest wait for one answer.")
    retry: RetryModel = Field(default_factory=RetryModel)


class PipelineModel(Model):
    """A named list of steps."""

    match: Annotated[list[Glob], Field(min_length=1)] = Field(
        default=["*"], description="Original names that it is for."
    )
    format: Annotated[
        Literal["auto", "csv", "json", "jsonl", "raw"],
        _not_yet("xml", "auto, csv, json, jsonl or raw"),
    ] = Field(default="auto", description="What a payload is made of.")
    steps: Annotated[list[StepModel], Field(min_length=1)] = Field(description="What is done.")


class FileModel(Model):
    """The whole file."""

    role: Literal["a", "b"] | None = Field(
        default=None, description="This host's side; --role overrides."
    )
    root: PathText | None = Field(
        default=None, description="Where relative paths begin; without it, this file's folder."
    )
    shares: SharesModel = Field(default_factory=SharesModel)
    outbox: Annotated[OutboxModel, Shorthand()] = Field(default_factory=OutboxModel)
    inbox: PathText = Field(default="inbox", description="Folder of results.")
    failed: PathText = Field(default="failed", description="Folder of originals that failed.")
    archive: Annotated[ArchiveModel | None, Shorthand(off=True)] = Field(
        default_factory=ArchiveModel
    )
    state: PathText = Field(default="state", description="The agent's own folder, on a local disk.")
    quarantine: PathText = Field(
        default="quarantine", description="Folder of what B can't make sense of."
    )
    watch: WatchModel = Field(default_factory=WatchModel)
    limits: LimitsModel = Field(default_factory=LimitsModel)
    timing: TimingModel = Field(default_factory=TimingModel)
    durability: Literal["result", "full"] = Field(default="result", description="What is fsynced.")
    log: LogModel = Field(default_factory=LogModel)
    pipelines: dict[Name, PipelineModel] = Field(default={}, description="What B does, by name.")
    secrets: dict[SecretName, PathText] = Field(default={}, description="Name: file that holds it.")
