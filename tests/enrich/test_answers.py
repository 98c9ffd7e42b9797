"""Answers are kept within their time and space, under keys that say all that matters."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from roundtrip.enrich import HttpStep
from roundtrip.enrich.answers import ENTRY_OVERHEAD, MemoryAnswers
from roundtrip.enrich.steps.http import Http


async def sleep(seconds: float) -> None: ...


def key(fields: dict[str, Any], **settings: Any) -> bytes:
    step = HttpStep(**({"name": "geo", "url": "https://a/{ip}"} | settings))
    return Http(step, httpx.MockTransport(lambda request: None), sleep).call(fields).key  # type: ignore[arg-type]


def test_a_key_changes_with_whatever_changes_the_answer() -> None:
    record = {"ip": "1", "x": "2"}
    keys = [
        key(record),
        key(record | {"ip": "2"}),
        key(record, name="other"),
        key(record, url="https://b/{ip}"),
        key(record, query={"k": "1"}),
        key(record, method="POST"),
        key(record | {"x": "3"}, method="POST"),
        key(record, headers={"Authorization": "Bearer one"}),
        key(record, headers={"Authorization": "Bearer two"}),
        key(record, select={"a": "b"}),
        key(record, select={"a": "c"}),
    ]
    assert len(set(keys)) == len(keys)
    assert key(record) == key(record | {"x": "unused"})
    assert all(len(one) == 16 for one in keys)


async def test_an_answers_time_ends() -> None:
    now = [0.0]
    answers = MemoryAnswers(10_000, clock=lambda: now[0])
    await answers.put(b"a", b"1", 5.0)
    await answers.put(b"b", b"2", None)
    now[0] = 4.9
    assert (answers.get(b"a"), answers.get(b"b")) == (b"1", b"2")
    now[0] = 5.0
    assert (answers.get(b"a"), answers.get(b"b")) == (None, b"2")


async def test_the_least_recently_used_answer_goes_when_space_is_needed() -> None:
    answers = MemoryAnswers(4 * (ENTRY_OVERHEAD + 1))
    for name in (b"a", b"b", b"c", b"d"):
        await answers.put(name, b"1", None)
    answers.get(b"a")
    await answers.put(b"e", b"1", None)
    assert [answers.get(name) for name in (b"a", b"b", b"e")] == [b"1", None, b"1"]


async def test_an_answer_too_large_for_the_space_is_not_kept_and_empties_nothing() -> None:
    answers = MemoryAnswers(4 * (ENTRY_OVERHEAD + 1))
    await answers.put(b"a", b"1", None)
    await answers.put(b"b", b"x" * 1000, None)
    assert (answers.get(b"a"), answers.get(b"b")) == (b"1", None)


async def test_an_answer_put_twice_counts_once() -> None:
    answers = MemoryAnswers(4 * (ENTRY_OVERHEAD + 1))
    for _ in range(10):
        await answers.put(b"a", b"1", None)
    await answers.put(b"b", b"1", None)
    assert (answers.get(b"a"), answers.get(b"b")) == (b"1", b"1")


@pytest.mark.parametrize("module", ["httpx", "aiohttp", "tenacity", "jmespath"])
def test_settings_and_checks_load_no_http_client(module: str) -> None:
    import subprocess
    import sys

    code = "import roundtrip.enrich, roundtrip.enrich.check, sys; print(sys.argv[1] in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
