"""Many records: constant memory, order kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = """
import asyncio, sys
from pathlib import Path
from tests.enrich.steps import http_step
from roundtrip.enrich import Enricher, Pipeline

def resident():
    import os
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

async def main(url, source, target, check):
    step = http_step("geo", url + "/{key}", select={"path": "path"}, concurrency=50)
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


READ_AND_WRITE = """
import sys
from pathlib import Path
from roundtrip.enrich.formats import Column
from roundtrip.enrich.formats.opening import opened
from roundtrip.enrich.settings import Formats

def peak():
    # not getrusage: its ru_maxrss begins with what the parent had before exec
    found = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    return int(found.split()[0]) * 1024

def run(kind, source, target):
    columns = (Column("geo.country", "geo", "country"), Column("geo.error", "geo", error=True))
    formats = Formats(json_path="data.items" if kind == "json" else None)
    with open(source, "rb") as reading, open(target, "wb") as writing:
        payload = opened(kind, reading, columns, formats)
        writer = payload.writer(writing)
        for n, record in enumerate(payload.records(), 1):
            record.fields["geo"] = {"country": "DE"}
            writer.write(record)
        writer.close()
    return n

kind, check, source, target = sys.argv[1:]
run(kind, check, target)
before = peak()
print(run(kind, source, target), peak() - before, peak())
"""

PADDING = "x" * 150
SHAPES = {
    "csv": ("id,pad\n", "{0},{1}\n", ""),
    "tsv": ("id\tpad\n", "{0}\t{1}\n", ""),
    "jsonl": ("", '{{"id":{0},"pad":"{1}"}}\n', ""),
    "json": ('{"data":{"items":[{"id":"first"}', ',{{"id":{0},"pad":"{1}"}}', "]}}\n"),
    "xml": ("<r>\n", "  <a id='{0}'>\n    <pad>{1}</pad>\n  </a>\n", "</r>\n"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_forty_megabytes_are_read_and_written_in_constant_memory(kind: str, tmp_path: Path) -> None:
    """The smaller brother of a measured run: docs/reference/formats.md has its figures."""
    head, line, tail = SHAPES[kind]
    source, target, check = (tmp_path / name for name in ("in", "out", "check"))
    for path, count in ((source, 200_000), (check, 2_000)):
        with open(path, "w") as file:
            file.write(head)
            file.writelines(line.format(n, PADDING) for n in range(count))
            file.write(tail)
    child = [sys.executable, "-c", READ_AND_WRITE, kind, str(check), str(source), str(target)]
    found = subprocess.run(child, stdout=subprocess.PIPE, check=True, text=True)
    count, grown, most = map(int, found.stdout.split())
    assert count - (kind == "json") == 200_000
    assert target.stat().st_size > source.stat().st_size > 30_000_000
    assert grown < 4 * 1024 * 1024
    assert most < 200 * 1024 * 1024
