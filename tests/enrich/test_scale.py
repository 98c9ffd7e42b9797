"""A hundred thousand records: constant memory, order kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

RUN = """
import asyncio, sys
from pathlib import Path
from roundtrip.enrich import Enricher, HttpStep, Pipeline

def resident():
    import os
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main(url, source, target, check):
    step = HttpStep("geo", url + "/{key}", select={"path": "path"}, concurrency=50)
    pipeline = Pipeline("p", (step,))
    enricher = Enricher([pipeline])
    with open(check, "rb") as small, open("/dev/null", "wb") as nowhere:
        await enricher.run(pipeline, "a.jsonl", small, nowhere)
    before = resident()
    with open(source, "rb") as reading, open(target, "wb") as writing:
        result = await enricher.run(pipeline, "a.jsonl", reading, writing)
    print(resident() - before, result.stats.records, result.stats.ok, result.stats.calls)
    await enricher.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_hundred_thousand_records_take_constant_memory_and_keep_their_order(
    api: Any, tmp_path: Path
) -> None:
    source, target, check = (tmp_path / name for name in ("in", "out", "check"))
    padding = "x" * 200
    line = '{{"n":{},"key":"{}","pad":"{}"}}\n'
    with open(source, "w") as file:
        file.writelines(line.format(n, n % 2000, padding) for n in range(100_000))
    check.write_text("".join(line.format(n, f"w{n}", "") for n in range(300)))
    import asyncio

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, api.url, str(source), str(target), str(check),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    grown, records, ok, calls = map(int, out.split())
    assert (records, ok, calls) == (100_000, 100_000, 2000)
    with open(target) as file:
        for n, text in enumerate(file):
            assert text.startswith(f'{{"n":{n},"key":"{n % 2000}",')
            assert text.endswith(f'"geo":{{"path":"/{n % 2000}"}}}}\n')
    assert n == 99_999
    assert grown < 50 * 1024 * 1024
