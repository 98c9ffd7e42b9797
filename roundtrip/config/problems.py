"""What is wrong with a configuration, in plain sentences: only this module reads pydantic's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from roundtrip.config.document import Problem
from roundtrip.config.models import FileModel
from roundtrip.config.step_checks import KINDS
from roundtrip.config.units import shown

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "list_type": "a list, like [a, b]",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
}


def from_errors(
    errors: Iterable[ErrorDetails], model: type[BaseModel] = FileModel
) -> Iterator[Problem]:
    """Yield a problem for each of pydantic's errors about a `model`."""
    for error in errors:
        path = tuple(part for part in error["loc"] if part != "[key]")
        yield Problem(path, _sentence(error, model))


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"], model)
    if kind == "missing":
        return "missing; this key is required"
    if value is None:
        return "is empty; give it a value or remove the key"
    if kind == "literal_error":
        return _not_a_choice(value, re.findall(r"'([^']*)'", context["expected"]))
    if kind in _KINDS:
        return _wrong_kind(_KINDS[kind], value)
    return _bound(kind, context) or "can't be used; see docs/reference/configuration.md"


def _unknown_key(path: Sequence[str | int], model: type[BaseModel]) -> str:
    key = str(path[-1])
    keys = keys_at(path[:-1], model)
    if key == "plugin" and set(KINDS) <= set(keys):
        return "a plugin is a python step here; write python: NAME"
    return "unknown key; " + (
        _meant(key, keys) or "remove it, or use one of: " + ", ".join(sorted(keys))
    )


def _not_a_choice(value: object, choices: list[str]) -> str:
    text = f"must be {_one_of(choices)}, not {shown(value)}"
    meant = _meant(value, choices) if isinstance(value, str) else None
    return f"{text}; {meant}" if meant else text


def _wrong_kind(kind: str, value: object) -> str:
    if kind == "text" and isinstance(value, bool | int | float):
        # The value is not quoted: in a header it may be half of a secret.
        what = "true or false" if isinstance(value, bool) else "a number"
        return f"must be text, not {what}; put it in quotes"
    quoted = kind == "true or false" or not isinstance(value, str)
    what = shown(value) if quoted else "text"
    return f"must be {kind}, not {what}"


def _bound(kind: str, context: dict[str, Any]) -> str | None:
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}"
    if kind in ("less_than_equal", "int_parsing_size"):
        return f"must be at most {context.get('le', 1_000_000)}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "too_short":
        return "must not be empty; give it at least one item"
    return None


def _meant(word: str, words: Sequence[str]) -> str | None:
    # Compared in lower case, so that `get` is near `GET` and `Headers` near `headers`.
    lower = {candidate.lower(): candidate for candidate in words}
    near = get_close_matches(word.lower(), list(lower), n=1)
    return f"did you mean '{lower[near[0]]}'?" if near else None


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def keys_at(path: Sequence[str | int], model: Any = FileModel) -> list[str]:
    """Return the keys that the mapping at `path` may have."""
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if not path:
        return list(fields)
    annotation = fields[str(path[0])]
    inner = _model_in(annotation)
    # A list of models or a mapping to them takes one more part of the path: the index or the key.
    taken = 1 if inner is annotation or type(None) in get_args(annotation) else 2
    return keys_at(path[taken:], inner)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
