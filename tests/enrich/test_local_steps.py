"""Commands, functions and tables in whole pipelines: one process, one answer, one payload."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from roundtrip.enrich import PayloadFault, Pipeline, Withdrawn
from roundtrip.enrich.settings import Batch
from roundtrip.errors import PipelineError
from tests.enrich.local import settings
from tests.enrich.processes import children
from tests.enrich.test_command import until
from tests.processes import lives


async def test_a_command_and_a_table_enrich_a_csv(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("cc,name\nde,Germany\n")
    steps = (
        settings("up", run=("tr", "a-z", "A-Z"), send=("cc",), select={"cc": "CC"}),
        settings("land", file=str(tmp_path / "t.csv"), key="{cc}", select={"name": "name"}),
    )
    _, out = await engine.run(Pipeline("p", steps), "a.csv", b"n,cc\n1,de\n2,xx\n3,de\n")
    assert out.decode().splitlines() == [
        "n,cc,up.cc,up.error,land.name,land.error",
        "1,de,DE,,Germany,",
        "2,xx,XX,,,",
        "3,de,DE,,Germany,",
    ]


async def test_the_same_record_is_one_process(engine: Any) -> None:
    pipeline = Pipeline("p", (settings(run=("cat",)),))
    result, _ = await engine.run(pipeline, "a.jsonl", b'{"a":1}\n' * 5 + b'{"a":2}\n')
    assert (result.stats.calls, result.stats.cached) == (2, 4)


async def test_a_batch_of_records_is_one_process(engine: Any) -> None:
    pipeline = Pipeline("p", (settings(run=("cat",), batch=Batch(100)),))
    payload = b"".join(b'{"n":%d}\n' % n for n in range(250))
    result, out = await engine.run(pipeline, "a.jsonl", payload)
    assert [json.loads(line)["s"] for line in out.splitlines()] == [{"n": n} for n in range(250)]
    assert result.stats.calls == 3


async def test_a_programs_error_stands_in_its_record(engine: Any) -> None:
    script = 'read -r line; case "$line" in *bad*) echo no >&2; exit 1;; esac; echo 1'
    pipeline = Pipeline("p", (settings(run=("sh", "-c", script)),))
    result, out = await engine.run(pipeline, "a.jsonl", b'{"a":"bad"}\n{"a":"good"}\n')
    bad, good = (json.loads(line)["s"] for line in out.splitlines())
    assert bad == {"error": {"title": "Program failed", "detail": "step s: sh: exit code 1: no"}}
    assert good == 1
    assert result.outcome == "partial"


async def test_a_missing_program_fails_every_record_and_starts_nothing(engine: Any) -> None:
    pipeline = Pipeline("p", (settings(run=("no-such-program-here",), concurrency=1),))
    result, _ = await engine.run(pipeline, "a.jsonl", b'{"a":1}\n{"a":2}\n')
    assert (result.stats.failed, result.stats.calls) == (2, 0)


async def test_a_withdrawn_request_ends_its_programs(engine: Any, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; sleep 1000; echo"
    pipeline = Pipeline("p", (settings(run=("sh", "-c", script), timeout=100.0),))
    with pytest.raises(Withdrawn):
        await engine.run(pipeline, "a.jsonl", b'{"a":1}\n', cancelled=(tmp_path / "pid").exists)
    await until(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert children() == set()


async def test_a_whole_payload_through_two_programs(engine: Any) -> None:
    steps = (settings("a", run=("tr", "a", "b")), settings("b", run=("sed", "s/^/>/")))
    payload = b"a\n" * 1_000_000
    result, out = await engine.run(Pipeline("p", steps, format="raw"), "x", payload)
    assert out == b">b\n" * 1_000_000
    assert result.stats.calls == 2


async def test_a_whole_payloads_program_that_fails_fails_the_payload(engine: Any) -> None:
    pipeline = Pipeline("p", (settings(run=("sh", "-c", "echo why >&2; exit 4")),), format="raw")
    with pytest.raises(PayloadFault, match="Program failed: step s: sh: exit code 4: why"):
        await engine.run(pipeline, "x", b"payload")


async def test_a_table_that_is_not_there_fails_the_payload_and_names_the_file(
    engine: Any, tmp_path: Path
) -> None:
    pipeline = Pipeline("p", (settings(file=str(tmp_path / "no.csv"), key="{k}"),))
    with pytest.raises(PipelineError, match=r"step s: lookup\.file .*no\.csv: No such file"):
        await engine.run(pipeline, "a.jsonl", b'{"k":1}\n')


async def test_look_ups_in_many_records_are_no_calls(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("k,v\n" + "".join(f"{n},{n}\n" for n in range(1000)))
    pipeline = Pipeline("p", (settings(file=str(tmp_path / "t.csv"), key="{k}"),))
    payload = b"".join(b'{"k":%d}\n' % (n % 1500) for n in range(3000))
    result, out = await asyncio.wait_for(engine.run(pipeline, "a.jsonl", payload), 30)
    found = [json.loads(line)["s"] for line in out.splitlines()]
    expected = [{"k": str(n), "v": str(n)} if n < 1000 else None for n in range(1500)]
    assert found == expected * 2
    assert result.stats.calls == 0
