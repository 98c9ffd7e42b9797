"""The keys of a pipeline and its steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from roundtrip.config import names, texts
from roundtrip.config.host_models import QuotaModel
from roundtrip.config.http_models import HttpModel
from roundtrip.config.step_checks import KINDS
from roundtrip.config.values import (
    Bytes,
    Calls,
    Count,
    Duration,
    FieldName,
    Glob,
    JsonTemplate,
    LocalTemplate,
    Model,
    Name,
    PathText,
    Pause,
    Secret,
    Selector,
    Short,
    Text,
    VariableName,
    one_of,
)


class RetryModel(Model):
    """How a failed call is tried again."""

    attempts: Count = Field(default=5, description="Tries in all.")
    max_delay: Duration = Field(default=60.0, description="Longest pause between two tries.")
    patience: Duration = Field(
        default=3600.0, description="How long a call may be put off before its record fails."
    )


class CommandModel(Model):
    """A program, run without a shell, or what a shell is to do."""

    model_config = one_of("run", "shell")

    run: Annotated[list[LocalTemplate], Field(min_length=1)] | None = Field(
        default=None, description="The program and its arguments."
    )
    shell: Text | None = Field(
        default=None, description="A text for bash, `a | b` say; no field goes into it."
    )
    progress: Annotated[str, AfterValidator(texts.check_progress)] | None = Field(
        default=None,
        description="Format raw: regular expression of a line on stderr that tells the percentage.",
    )
    environment: dict[VariableName, Secret] = Field(
        default={}, description="Variables that the program gets."
    )
    memory: Bytes | None = Field(default=None, description="The most memory it may take.")
    max_output: Bytes = Field(
        default=64 * 1024 * 1024, description="The longest output that is taken."
    )


class PythonModel(Model):
    """An async function of an installed package."""

    use: Name = Field(description="The name of its entry point in the group roundtrip.steps.")
    options: dict[str, Any] = Field(default={}, description="What else the function is given.")


def _null(value: object) -> object:
    """In YAML, `null` without quotes is no text."""
    return "null" if value is None else value


class LookupModel(Model):
    """A local file as a table."""

    file: PathText = Field(description="A .csv, .tsv, .mmdb or SQLite file.")
    key: LocalTemplate = Field(description="What is looked for.")
    column: Text | None = Field(default=None, description="Where it is looked for.")
    table: Text | None = Field(default=None, description="SQLite: the table's name.")
    missing: Annotated[Literal["null", "error"], BeforeValidator(_null)] = Field(
        default="null", description="What a key means that is not there."
    )


class BatchModel(Model):
    """Many records in one call."""

    size: Count = Field(description="Most records in one call.")
    by: Annotated[str, AfterValidator(texts.check_selector)] = Field(
        default="position",
        description="How answers find their records: position, keys, or a JMESPath to the key.",
    )
    key: LocalTemplate | None = Field(default=None, description="The record's key.")
    item: JsonTemplate = Field(default=None, description="What one record sends.")
    results: Selector = Field(default="@", description="JMESPath to the answers.")
    linger: Duration = Field(default=0.02, description="Wait for more records.")


class StepModel(Model):
    """One enrichment; it has exactly one of http, command, python and lookup."""

    model_config = one_of(*KINDS)

    name: Name = Field(description="The step's name.")
    http: HttpModel | None = None
    command: Annotated[
        CommandModel | None,
        Short("run", list, words="a list like [program, argument] or a mapping"),
    ] = Field(default=None)
    python: Annotated[PythonModel | None, Short("use", words="a name or a mapping")] = Field(
        default=None
    )
    lookup: LookupModel | None = None
    select: dict[str, Selector] = Field(
        default={}, description="Output field: JMESPath of the response."
    )
    into: Name | None = Field(
        default=None, description="Where the result goes; without it, the name."
    )
    on_error: Literal["annotate", "drop", "fail"] = Field(
        default="annotate", description="What becomes of a record whose call failed."
    )
    needs: list[Name] = Field(default=[], description="Steps that must have ended before.")
    when: Selector | None = Field(
        default=None, description="JMESPath over the record: false skips the step."
    )
    fallback: Name | None = Field(
        default=None, description="The step that is tried when this one fails."
    )
    send: list[FieldName] | None = Field(
        default=None, description="The only fields that may leave the host."
    )
    batch: BatchModel | None = None
    cache: Duration | None = Field(
        default=None, description="How long an answer may be used again."
    )
    rate: Calls | None = Field(default=None, description="Most calls in a time.")
    quota: QuotaModel = Field(default_factory=QuotaModel)
    concurrency: Count = Field(default=20, description="Calls at once.")
    timeout: Pause = Field(default=30.0, description="Longest wait for one answer.")
    retry: RetryModel = Field(default_factory=RetryModel)


class CsvModel(Model):
    """How a table is written; what is not given is detected."""

    delimiter: Annotated[str, AfterValidator(names.check_delimiter)] | None = Field(
        default=None, description="The character between two cells."
    )
    quote: Annotated[str, AfterValidator(names.check_delimiter)] = Field(
        default='"', description="The character around a cell."
    )
    encoding: Annotated[str, AfterValidator(names.check_encoding)] | None = Field(
        default=None, description="The file's encoding."
    )
    header: list[Text] = Field(default=[], description="Column names of a file without any.")


class JsonModel(Model):
    """Where the records of a JSON document are."""

    path: Annotated[str, AfterValidator(names.check_way)] | None = Field(
        default=None, description="The way to the array of records."
    )


class XmlModel(Model):
    """Where the records of an XML document are."""

    record: Annotated[str, AfterValidator(names.check_element)] | None = Field(
        default=None, description="The name of the element that is repeated, or the way to it."
    )


class PipelineModel(Model):
    """A named graph of steps."""

    match: Annotated[list[Glob], Field(min_length=1)] = Field(
        default=["*"], description="Original names that it is for."
    )
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "xml", "raw"] = Field(
        default="auto", description="What a payload is made of."
    )
    csv: CsvModel = Field(default_factory=CsvModel)
    json_: JsonModel = Field(default_factory=JsonModel, alias="json")
    xml: XmlModel = Field(default_factory=XmlModel)
    steps: Annotated[list[StepModel], Field(min_length=1)] = Field(description="What is done.")
