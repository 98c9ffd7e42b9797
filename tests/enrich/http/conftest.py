"""Short ways to ask the API of tests/enrich/conftest.py through one `http` step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from roundtrip.enrich.limits import Governor
from roundtrip.enrich.settings import HttpSettings
from roundtrip.enrich.steps.http import Http
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.steps import http_step

Ask = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def ask(engine: Any, one_step: Any) -> Ask:
    """`await ask("/ip/{ip}", {"ip": 1}, ...)`: what the step puts into each record."""

    async def asked(path: str, *records: dict[str, Any], **settings: Any) -> list[Any]:
        run = {name: settings.pop(name) for name in ("exchange",) if name in settings}
        payload = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        pipeline = one_step(path, **settings)
        result, out = await engine.run(pipeline, "a.jsonl", payload, **run)
        asked.stats = result.stats  # type: ignore[attr-defined]
        return [json.loads(line)["geo"] for line in out.splitlines()]

    return asked


@pytest.fixture
def compiled() -> Callable[..., Http]:
    """`compiled(url, **settings)`: a step by itself."""

    def make(url: str, **settings: Any) -> Http:
        transport = settings.pop("transport", httpx.AsyncBaseTransport())
        hosts, sleep = settings.pop("hosts", {}), settings.pop("sleep", asyncio.sleep)
        governor = Governor(hosts, MemoryStore().counters, sleep=sleep)
        step = http_step(settings.pop("name", "geo"), url, **settings)
        assert isinstance(step.action, HttpSettings)
        return Http("p", step, step.action, transport, governor)

    return make


def error(value: Any) -> str:
    """The text of an annotated record's error."""
    assert isinstance(value, dict), value
    return f"{value['error']['title']}: {value['error']['detail']}"
