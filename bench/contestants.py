"""One contestant's run over a file of records, in a process of its own.

`python -m bench.contestants NAME --url URL --records N --in-flight M --place DIR` prints one JSON
object: seconds of the run itself (no start-up), and what answered.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench import node_red_calls
from bench.cache import Cache, default_folder
from roundtrip.enrich import Enricher, HttpSettings, Pipeline, StepSettings
from roundtrip.enrich.egress import Guard
from roundtrip.enrich.store.sqlite import SqliteStore
from roundtrip.enrich.transport import AiohttpTransport

DISTINCT = 100  # keys of the runs whose answers are all cached

Run = Callable[[argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]


def main() -> int:
    """Run the contestant that the command line names. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(CONTESTANTS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--format", choices=["csv", "jsonl"], default="jsonl")
    parser.add_argument("--place", type=Path, required=True)
    options = parser.parse_args()
    found = asyncio.run(CONTESTANTS[options.name](options))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found.setdefault("rss", own)  # unless another process did the work
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def records(options: argparse.Namespace, distinct: int | None = None) -> Path:
    """A file of records: each has an id of its own, or one of `distinct`."""
    path: Path = options.place / f"records-{distinct}.{options.format}"
    ids = (number % distinct if distinct else number for number in range(options.records))
    rows = ({"id": i, "name": "Zoë Example", "city": "Köln", "amount": "12.50"} for i in ids)
    with path.open("w", newline="") as file:
        if options.format == "csv":
            table = csv.DictWriter(file, ["id", "name", "city", "amount"])
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


async def direct(options: argparse.Namespace) -> dict[str, Any]:
    """The transport called directly: a request and its whole answer, nothing else."""
    transport = AiohttpTransport(Guard([_pipeline(options)], {}))
    left = iter(range(options.records))

    async def work() -> None:
        for number in left:
            request = httpx.Request("GET", f"{options.url}{number}")
            response = await transport.handle_async_request(request)
            await response.aread()
            await response.aclose()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(options.in_flight)))
    seconds = time.perf_counter() - began
    await transport.aclose()
    return {"seconds": seconds, "calls": options.records}


def _pipeline(options: argparse.Namespace, cache: float | None = None) -> Pipeline:
    step = StepSettings(
        "geo",
        HttpSettings(options.url + "{id}"),
        select={"status": "status", "score": "score"},
        concurrency=options.in_flight,
        cache=cache,
    )
    return Pipeline("bench", (step,))


async def _enricher(options: argparse.Namespace, pipeline: Pipeline) -> Enricher:
    enricher = Enricher([pipeline], store=SqliteStore(options.place / "ledger.sqlite"))
    await enricher.open()
    return enricher


async def engine(options: argparse.Namespace) -> dict[str, Any]:
    """roundtrip's engine with its durable ledger, from file to file."""
    pipeline = _pipeline(options)
    enricher = await _enricher(options, pipeline)
    with records(options).open("rb") as source, (options.place / "out").open("wb") as sink:
        name = f"records.{options.format}"
        began = time.perf_counter()
        result = await enricher.run(pipeline, name, source, sink, exchange="bench")
        seconds = time.perf_counter() - began
    await enricher.aclose()
    return {"seconds": seconds, "calls": result.stats.calls, "failed": result.stats.failed}


async def script(options: argparse.Namespace) -> dict[str, Any]:
    """What one writes by hand: asyncio and httpx, a bounded number at once, from file to file."""
    limits = httpx.Limits(max_connections=options.in_flight, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        slots = asyncio.Semaphore(options.in_flight)

        async def enriched(line: str) -> str:
            record = json.loads(line)
            async with slots:
                answer = (await client.get(f"{options.url}{record['id']}")).json()
            record["geo"] = {"status": answer["status"], "score": answer["score"]}
            return json.dumps(record, ensure_ascii=False)

        lines = records(options).read_text().splitlines()
        began = time.perf_counter()
        found = await asyncio.gather(*map(enriched, lines))
        (options.place / "out").write_text("\n".join(found) + "\n")
        return {"seconds": time.perf_counter() - began, "calls": len(found)}


async def cached(options: argparse.Namespace) -> dict[str, Any]:
    """roundtrip's engine when every answer is known already."""
    pipeline = _pipeline(options, cache=3600.0)
    enricher = await _enricher(options, pipeline)
    name = f"records.{options.format}"
    content = records(options, DISTINCT).read_bytes()
    await enricher.run(pipeline, name, io.BytesIO(content), io.BytesIO())
    with (options.place / "out").open("wb") as sink:
        began = time.perf_counter()
        result = await enricher.run(pipeline, name, io.BytesIO(content), sink)
        seconds = time.perf_counter() - began
    await enricher.aclose()
    return {"seconds": seconds, "calls": result.stats.calls, "failed": result.stats.failed}


async def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Only parsing and writing, with the answer put in from a dictionary."""
    content = records(options, DISTINCT).read_bytes()
    answers = {number: {"status": "enriched", "score": 17} for number in range(DISTINCT)}
    with (options.place / "out").open("wb") as sink:
        began = time.perf_counter()
        (_plain_table if options.format == "csv" else _plain_lines)(content, sink, answers)
        return {"seconds": time.perf_counter() - began, "calls": 0}


def _plain_lines(content: bytes, sink: io.BufferedWriter, answers: dict[int, Any]) -> None:
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    for line in io.BytesIO(content):
        record = decode(line)
        record["geo"] = answers[record["id"]]
        sink.write(encode(record) + b"\n")


def _plain_table(content: bytes, sink: io.BufferedWriter, answers: dict[int, Any]) -> None:
    rows: Iterator[list[str]] = csv.reader(io.TextIOWrapper(io.BytesIO(content), newline=""))
    text = io.TextIOWrapper(sink, newline="")
    write = csv.writer(text).writerow
    write([*next(rows), "geo.status", "geo.score", "geo.error"])
    for row in rows:
        write([*row, *map(str, answers[int(row[0])].values()), ""])
    text.detach()


async def node_red(options: argparse.Namespace) -> dict[str, Any]:
    """Node-RED with its own nodes."""
    cache = Cache(default_folder())
    found = node_red_calls.run(
        cache, options.place, records(options), options.url, options.in_flight
    )
    return dict(found)


CONTESTANTS: dict[str, Run] = {
    "direct": direct,
    "roundtrip": engine,
    "script": script,
    "node-red": node_red,
    "cached": cached,
    "plain": plain,
}


if __name__ == "__main__":
    sys.exit(main())
