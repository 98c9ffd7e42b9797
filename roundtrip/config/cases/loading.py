"""Find files of pipeline tests, read them, and say where they are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from roundtrip.config.cases.models import TestModel, TestsModel
from roundtrip.config.document import Path as Keys
from roundtrip.config.document import Problem
from roundtrip.config.loading import lines, read
from roundtrip.config.problems import from_errors
from roundtrip.config.step_checks import mapping
from roundtrip.errors import ConfigError

PATTERN = "*.test.yaml"


def find(config: Path) -> list[Path]:
    """Return the files of tests beside a configuration; raises ConfigError when there are none."""
    found = sorted(config.parent.glob(PATTERN))
    if not found:
        raise ConfigError([f"{config.parent}: no tests here; their files are named {PATTERN}"])
    return found


def load(files: Sequence[Path]) -> list[tuple[Path, list[TestModel]]]:
    """Return each file's tests; raises ConfigError with all that is wrong with all of them."""
    loaded, wrong = [], []
    for file in files:
        try:
            loaded.append((file, _tests(file)))
        except ConfigError as error:
            wrong += error.problems
    if wrong:
        raise ConfigError(wrong)
    return loaded


def _tests(file: Path) -> list[TestModel]:
    document = read(file, "check the name")
    found = [*document.problems, *_together(document.data)]
    try:
        model = TestsModel.model_validate(document.data if document.data is not None else {})
    except ValidationError as error:
        found += from_errors(error.errors(include_url=False), TestsModel)
        raise ConfigError(lines(file, document, found)) from None
    if found:
        raise ConfigError(lines(file, document, found))
    return model.tests


def _together(data: Any) -> Iterator[Problem]:
    tests = mapping(data).get("tests")
    for index, test in enumerate(tests if isinstance(tests, list) else []):
        at: Keys = ("tests", index)
        given = mapping(test)
        yield from _one_of((*at, "input"), mapping(given.get("input")), ("text", "records"))
        expect = mapping(given.get("expect"))
        if "expect" in given and not any(expect.get(key) not in (None, {}) for key in expect):
            yield Problem((*at, "expect"), "expects nothing; give it outcome, records or text")
        if expect.get("text") is not None and expect.get("records") is not None:
            yield Problem((*at, "expect", "records"), "there is text already; remove one of them")
        answers = given.get("answers")
        for place, answer in enumerate(answers if isinstance(answers, list) else []):
            yield from _answer((*at, "answers", place), mapping(answer))


def _answer(at: Keys, answer: dict[str, Any]) -> Iterator[Problem]:
    yield from _one_of(at, answer, ("request", "step"))
    if answer.get("record") is not None and answer.get("step") is None:
        yield Problem((*at, "record"), "goes with step; for a request, give request.body")
    if "json" in answer and answer.get("text") is not None:
        yield Problem((*at, "text"), "an answer has one body; remove either json or text")


def _one_of(at: Keys, given: dict[str, Any], keys: tuple[str, str]) -> Iterator[Problem]:
    found = [key for key in keys if given.get(key) is not None]
    if not found and given:
        yield Problem(at, f"needs {keys[0]} or {keys[1]}")
    if len(found) > 1:
        yield Problem((*at, keys[1]), f"there is {keys[0]} already; remove one of the two")
