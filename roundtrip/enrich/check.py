"""What is wrong with a pipeline before any payload comes, without loading an HTTP client."""

from __future__ import annotations

import fnmatch

from roundtrip.enrich.settings import HttpStep, Pipeline
from roundtrip.enrich.template import Template, Url


def problems(pipeline: Pipeline) -> list[str]:
    """One line for each step setting that can't work; empty when all is well. Holds no secrets."""
    found = [f"step {step.name}: {text}" for step in pipeline.steps for text in _step(step)]
    names = [step.into or step.name for step in pipeline.steps]
    doubles = sorted({name for name in names if names.count(name) > 1})
    found += [f"two steps write into {name!r}" for name in doubles]
    if pipeline.format == "raw":
        found += _raw(pipeline)
    return found


def matches(pipeline: Pipeline, original_name: str) -> bool:
    """Whether one of the pipeline's globs fits the name, upper and lower case alike."""
    name = original_name.lower()
    return any(fnmatch.fnmatchcase(name, glob.lower()) for glob in pipeline.match)


def sends_content(step: HttpStep) -> bool:
    """Whether the step's method carries content (RFC 9110 section 9.3)."""
    return step.method.upper() in {"POST", "PUT", "PATCH"}


def _step(step: HttpStep) -> list[str]:
    import jmespath  # only here: role a checks no pipelines

    found = []
    try:
        Url(step.url, step.query)
    except ValueError as error:
        found.append(str(error))
    if step.json is not None and step.body is not None:
        found.append("json and body exclude each other")
    for name, expression in step.select.items():
        try:
            jmespath.compile(expression)
        except (jmespath.exceptions.JMESPathError, ValueError) as error:
            found.append(f"select.{name}: {str(error).splitlines()[0]}")
    return found


def _raw(pipeline: Pipeline) -> list[str]:
    found = []
    for step in pipeline.steps:
        if not sends_content(step):
            found.append(f"step {step.name}: format raw sends the file: use POST, PUT or PATCH")
        if {field.name for field in Template(step.url).fields} - {"name"}:
            found.append(f"step {step.name}: format raw has no record fields, only {{name}}")
        if step.select:
            found.append(f"step {step.name}: format raw takes the answer as it is: no select")
    return found
