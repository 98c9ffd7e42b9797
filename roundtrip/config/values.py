"""Kinds of single values in the file: durations, sizes, names, templates, and short forms."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

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

from roundtrip.config import names, texts, units
from roundtrip.enrich.settings import Rate


class Model(BaseModel):
    """What all parts of the file have in common: unknown keys and near-enough types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def one_of(*keys: str) -> ConfigDict:
    """What tells editors that exactly one of the keys is there; the loader's checks say it better.

    A model takes it besides what it inherits.
    """
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in keys]})


class Short:
    """Lets a plain value stand for a mapping of one key, and `off` for none where that is allowed.

    With `key` "path", `x` stands for `{path: x}`; `kind` is the plain value's type, str or list.
    """

    def __init__(self, key: str | None, kind: type = str, *, words: str, off: bool = False) -> None:
        """`words` is what may stand here, for the error: "a path or a mapping"."""
        self.key = key
        self.kind = kind
        self.words = words
        self.off = off

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.spell_out, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        shorts: list[dict[str, Any]] = []
        if self.key and self.kind is str:
            shorts.append({"type": "string", "minLength": 1})
        elif self.key:
            shorts.append({"type": "array", "items": {"type": "string"}, "minItems": 1})
        if self.off:
            shorts.append({"enum": [False, "off"]})
        return {"anyOf": [*shorts, handler(schema)]}

    def spell_out(self, value: object) -> object:
        """Return the mapping that a short form stands for, or None for `off`."""
        if self.off and (value is False or value == "off"):
            return None
        if self.key and isinstance(value, self.kind):
            return {self.key: value}
        if not isinstance(value, dict):
            raise ValueError(f"must be {self.words}, not {units.shown(value)}")
        return value


def json_template(value: object) -> object:
    """Check data that is sent as JSON: its texts may hold fields, but no secrets."""
    if isinstance(value, str):
        if "${" in value:
            raise ValueError(
                "has ${...}, which is not filled in here; use auth, headers, query or body"
            )
        texts.check_fields(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("has a number that JSON can't hold; write it as text or leave it out")
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            json_template(item)
    return value


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be more than zero")
    return seconds


def _written(number: str, pattern: str) -> WithJsonSchema:
    texts_and_numbers = [{"type": number, "minimum": 0}, {"type": "string", "pattern": pattern}]
    return WithJsonSchema({"anyOf": texts_and_numbers})


_duration_schema = _written("number", units.DURATION_PATTERN)
Duration = Annotated[float, BeforeValidator(units.parse_duration), _duration_schema]
Pause = Annotated[
    float, BeforeValidator(units.parse_duration), AfterValidator(_positive), _duration_schema
]
Size = Annotated[int, BeforeValidator(units.parse_size), _written("integer", units.SIZE_PATTERN)]
Bytes = Annotated[
    int,
    BeforeValidator(units.parse_size),
    AfterValidator(_positive),
    _written("integer", units.SIZE_PATTERN),
]
Calls = Annotated[
    Rate,
    PlainValidator(units.parse_rate),
    WithJsonSchema({"type": "string", "pattern": units.RATE_PATTERN}),
]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Number = Annotated[int, Field(ge=1, le=1_000_000_000)]
PathText = Annotated[str, AfterValidator(names.check_path)]
Name = Annotated[str, AfterValidator(names.check_name)]
VariableName = Annotated[str, AfterValidator(names.check_variable)]
FieldName = Annotated[str, AfterValidator(names.check_field)]
Glob = Annotated[str, AfterValidator(names.check_glob)]
Template = Annotated[str, AfterValidator(texts.check_template)]
LocalTemplate = Annotated[str, AfterValidator(texts.check_local_template)]
UrlTemplate = Annotated[str, AfterValidator(texts.check_url)]
Place = Annotated[str, AfterValidator(texts.check_place)]
JsonTemplate = Annotated[Any, BeforeValidator(json_template)]
Secret = Annotated[str, AfterValidator(texts.check_secret)]
Header = Annotated[str, AfterValidator(texts.check_header)]
HeaderName = Annotated[str, AfterValidator(names.check_header_name)]
SecretName = Annotated[str, AfterValidator(names.check_secret_name)]
Selector = Annotated[str, AfterValidator(texts.check_selector)]
Host = Annotated[str, AfterValidator(names.check_host)]
Listen = Annotated[str, AfterValidator(names.check_listen)]
Text = Annotated[str, Field(min_length=1)]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "QUERY"]
