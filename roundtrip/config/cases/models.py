"""The keys of a file of pipeline tests."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from roundtrip.config.values import Count, HeaderName, Model, Name, Text


def _json(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("has a number that JSON can't hold; write it as text or leave it out")
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _json(item)
    return value


def _file_name(text: str) -> str:
    if "/" in text or "\0" in text:
        raise ValueError("is not a file's name; write it without folders")
    return text


Json = Annotated[Any, BeforeValidator(_json)]
Row = Annotated[dict[str, Any], BeforeValidator(_json)]
FileName = Annotated[str, Field(min_length=1), AfterValidator(_file_name)]
Status = Annotated[int, Field(ge=100, le=599)]
Whole = Annotated[int, Field(ge=0, le=1_000_000)]


class InputModel(Model):
    """The payload that comes in."""

    name: FileName | None = Field(
        default=None, description="Its original name; without it, one that fits the format."
    )
    text: str | None = Field(default=None, description="The payload as it is.")
    records: list[Row] | None = Field(default=None, description="Its records.")


class RequestModel(Model):
    """The requests that an answer is for."""

    method: Text | None = Field(default=None, description="The method; without it, any.")
    url: Text = Field(description="The whole URL; * stands for any text.")
    body: Json = Field(default=None, description="The body: a text, or data that it holds as JSON.")


class AnswerModel(Model):
    """One answer, in place of a host's or a step's."""

    request: RequestModel | None = Field(default=None, description="What it answers.")
    step: Name | None = Field(default=None, description="Instead of request: the step it answers.")
    record: Row | None = Field(
        default=None, description="With step: the record that it is for; without it, any."
    )
    status: Status = Field(default=200, description="The status.")
    headers: dict[HeaderName, str] = Field(default={}, description="Header values.")
    json_: Json = Field(default=None, alias="json", description="The body as data.")
    text: str | None = Field(default=None, description="The body as text.")
    times: Count | None = Field(
        default=None, description="How often it is given; without it, any number of times."
    )


class StatsModel(Model):
    """Numbers as in the response's marker."""

    records: Whole | None = Field(default=None, description="Records read.")
    ok: Whole | None = Field(default=None, description="Records without an error.")
    failed: Whole | None = Field(default=None, description="Records with an error.")
    calls: Whole | None = Field(default=None, description="Calls made, with every try.")
    cached: Whole | None = Field(default=None, description="Calls saved.")


class ExpectModel(Model):
    """What must come out."""

    outcome: Literal["enriched", "partial", "failed"] | None = Field(
        default=None, description="What becomes of the payload."
    )
    text: str | None = Field(default=None, description="The result as it is.")
    records: list[Row] | None = Field(default=None, description="The result's records.")
    error: Text | None = Field(
        default=None, description="Outcome failed: what the error says; * stands for any text."
    )
    stats: StatsModel = Field(default_factory=StatsModel)


class TestModel(Model):
    """One test."""

    __test__ = False  # not one of pytest's

    name: Text = Field(description="What must be so, in words.")
    pipeline: Name | None = Field(
        default=None, description="The pipeline; without it, the one that fits input.name."
    )
    input: InputModel
    answers: list[AnswerModel] = Field(default=[], description="In the order they are tried.")
    expect: ExpectModel


class TestsModel(Model):
    """A whole file of tests."""

    __test__ = False

    tests: Annotated[list[TestModel], Field(min_length=1)] = Field(description="The tests.")
