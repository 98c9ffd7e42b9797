"""Mock servers, started once for each document, and pipelines run on them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from roundtrip.enrich import Pipeline
from roundtrip.enrich.settings import StepSettings
from tests.enrich.openapi.mock import Mock

HERE = Path(__file__).parent

Serve = Callable[..., Mock]
Enriched = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(scope="package")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """`serve("works")`: the API that `works.yaml` describes; it refuses what breaks the document.

    `serve("works", "--dynamic")`: the same with answers made up, some of which break it.
    """
    started: dict[tuple[str, str], Mock] = {}
    with ExitStack() as stack:

        def start(name: str, option: str = "--errors") -> Mock:
            if (name, option) not in started:
                log = tmp_path_factory.mktemp("prism") / "log"
                mock = stack.enter_context(Mock(HERE / f"{name}.yaml", log, option))
                started[name, option] = mock
            started[name, option].seen()
            return started[name, option]

        yield start


@pytest.fixture
def enriched(engine: Any) -> Enriched:
    """`await enriched(steps, *records)`: the records with what the steps add."""

    async def run(steps: list[StepSettings], *records: dict[str, Any]) -> list[dict[str, Any]]:
        payload = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        _, out = await engine.run(Pipeline("test", tuple(steps)), "a.jsonl", payload)
        return [json.loads(line) for line in out.splitlines()]

    return run
