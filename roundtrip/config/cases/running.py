"""Runs a test through the real engine; only the network, the clock and the store are others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace

from roundtrip.config.cases.differences import between, between_texts, shown
from roundtrip.config.cases.models import ExpectModel, TestModel
from roundtrip.config.cases.network import CannedNetwork, glob, url_of_step
from roundtrip.config.cases.payload import kind_of, payload, records_of
from roundtrip.config.named import written
from roundtrip.config.settings import Settings
from roundtrip.enrich import Enricher, json_text
from roundtrip.enrich.graph import named_fields
from roundtrip.enrich.redirects import Redirects
from roundtrip.enrich.results import Stats
from roundtrip.enrich.settings import (
    Breaker,
    HostSettings,
    HttpSettings,
    Pipeline,
    Quota,
    StepSettings,
)
from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.errors import PipelineError
from roundtrip.template import Url

LONGEST = 10.0  # seconds of one test; pauses take no time in it


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a test's payload."""

    outcome: str
    result: bytes = b""
    stats: Stats | None = None
    error: str = ""


async def run(test: TestModel, settings: Settings) -> list[str]:
    """What is wrong, one line each; empty when the test passes."""
    try:
        pipeline = _pipeline(test, settings)
        kind = kind_of(pipeline, test.input.name)
        source = _source(test, pipeline, kind)
    except (PipelineError, ValueError) as error:
        return [str(error)]
    network = CannedNetwork(test.answers)
    name = test.input.name or f"input.{kind}"
    try:
        async with asyncio.timeout(LONGEST):
            came = await _enriched(pipeline, settings.hosts, network, name, source)
    except TimeoutError:
        return [f"not finished after {LONGEST:g} s", *network.complaints()]
    return [*network.complaints(), *_differences(test.expect, came, pipeline, kind)]


def _pipeline(test: TestModel, settings: Settings) -> Pipeline:
    named = Enricher(settings.pipelines).choose(test.input.name or "input.jsonl", test.pipeline)
    canned = {answer.step for answer in test.answers if answer.step is not None}
    if unknown := canned - {step.name for step in named.steps}:
        raise ValueError(f"answers: pipeline {named.name} has no step {sorted(unknown)[0]!r}")
    raw = named.format == "raw"
    return replace(named, steps=tuple(_adapted(step, canned, raw) for step in named.steps))


def _adapted(step: StepSettings, canned: set[str], raw: bool) -> StepSettings:
    """The step without what only takes time; one with canned answers asks for them by HTTP."""
    batch = replace(step.batch, linger=0.0) if step.batch else None
    step = replace(step, rate=None, quota=Quota(), batch=batch)
    if step.name not in canned:
        return step
    if isinstance(step.action, HttpSettings):
        text = f"answers: step {step.name!r} is http; give request, with the URL that it calls"
        raise ValueError(text)
    asks = HttpSettings(url_of_step(step.name), "POST", idempotent=True)
    send = step.send or ("*", *sorted(named_fields(replace(step, when=None))))
    return replace(step, action=asks, send=None if raw else send)


def _source(test: TestModel, pipeline: Pipeline, kind: str) -> bytes:
    if test.input.records is not None:
        return payload(pipeline, kind, test.input.records)
    return (test.input.text or "").encode()


async def _enriched(
    pipeline: Pipeline,
    hosts: Mapping[str, HostSettings],
    network: CannedNetwork,
    name: str,
    source: bytes,
) -> Came:
    enricher = Enricher(
        [pipeline],
        hosts=_unlimited(pipeline, hosts),
        store=MemoryStore(),
        transport=Redirects(network),
        sleep=_no_pause,
    )
    sink = io.BytesIO()
    try:
        result = await enricher.run(pipeline, name, io.BytesIO(source), sink)
    except PipelineError as error:
        return Came("failed", error=str(error))
    finally:
        await enricher.aclose()
    return Came(result.outcome, sink.getvalue(), result.stats)


def _unlimited(pipeline: Pipeline, hosts: Mapping[str, HostSettings]) -> dict[str, HostSettings]:
    """The settings of the hosts that a pipeline calls, without what only takes time."""
    actions = [step.action for step in pipeline.steps if isinstance(step.action, HttpSettings)]
    called = [Url(action.url, {}).host.lower() for action in actions]
    named = {host: HostSettings(host) for host in called} | dict(hosts)
    return {
        host: replace(found, rate=None, quota=Quota(), breaker=Breaker(failures=0), adaptive=False)
        for host, found in named.items()
    }


async def _no_pause(_: float) -> None:
    await asyncio.sleep(0)


def _differences(expect: ExpectModel, came: Came, pipeline: Pipeline, kind: str) -> list[str]:
    found = []
    wanted = expect.outcome or ("failed" if expect.error else None)
    if came.outcome == "failed" and wanted != "failed":
        return [f"the payload failed: {written(came.error)}"]
    if wanted is not None and wanted != came.outcome:
        found.append(f"outcome: expected {wanted}, found {came.outcome}")
    if expect.error is not None and not glob(expect.error, written(came.error)):
        found.append(f"error: expected {shown(expect.error)}, found {shown(written(came.error))}")
    if came.outcome != "failed":
        found += _in_result(expect, came, pipeline, kind)
    if came.stats is not None:
        for name, count in expect.stats.model_dump(exclude_none=True).items():
            found += between(f"stats.{name}", count, getattr(came.stats, name))
    return found


def _in_result(expect: ExpectModel, came: Came, pipeline: Pipeline, kind: str) -> list[str]:
    result = written(came.result.decode(errors="backslashreplace"))
    if expect.text is not None:
        return between_texts("text", expect.text, result)
    if expect.records is None:
        return []
    if kind in ("raw", "auto"):
        return ["expect.records: the format is known only by its content; give expect.text"]
    records = records_of(pipeline, kind, result.encode())
    # both by way of JSON, so that numbers are of the same kinds
    wanted, there = (json_text.decode(json_text.encode(each)) for each in (expect.records, records))
    return between("records", wanted, there)
