"""Workers beside an agent that enriches itself: a slow API, a program that takes CPU, one file.

Each round drops files into host A's outbox and waits until all answers are in its inbox. Agents,
workers and the broker (a real one, started here) run on this machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import machine, processes, report
from tests.dispatch.world import QueueWorld
from tests.e2e.world import World
from tests.queue.servers import Nats, Rabbit, Redis, Server, free_port

SLOW = 200  # milliseconds that the API takes
RECORDS = 10
CONCURRENCY = 8  # files at once, of each worker
BURN = "import time\nuntil = time.process_time() + 0.1\nwhile time.process_time() < until: pass"
WORKERS = (1, 2, 4)
BROKERS: dict[str, Callable[[Path], Server]] = {"redis": Redis, "nats": Nats, "rabbitmq": Rabbit}
PATIENCE = 300.0


def main(arguments: list[str]) -> int:
    """`scripts/bench queue`: everything to stdout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench queue", description=__doc__)
    parser.add_argument("--where", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--files", type=int, default=200, help="files of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(BROKERS), help="brokers, with commas")
    options = parser.parse_args(arguments)
    facts = machine.facts(" ".join(["scripts/bench queue", *arguments]))
    facts["folders on"] = machine.filesystem(options.where)
    found: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="roundtrip-bench-", dir=options.where)
        folder = Path(stack.enter_context(made))
        api = stack.enter_context(_api(folder))
        for contestant, make in _contestants(folder, api, options.only.split(",")):
            for number in range(options.rounds):
                sys.stderr.write(f"round {number + 1}/{options.rounds}: {contestant}\n")
                with make(f"{contestant}-{number}".replace(", ", "-").replace(" ", "-")) as world:
                    found.setdefault(contestant, []).append(_measured(world, options.files))
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines += ["", f"medians of {options.rounds} rounds", report.table(_table(found))]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


Make = Callable[[str], Any]


def _contestants(folder: Path, api: str, brokers: list[str]) -> Iterator[tuple[str, Make]]:
    yield (
        f"direct, {CONCURRENCY} files at once",
        lambda name: _direct(folder / name, api, CONCURRENCY),
    )
    yield "direct, 64 files at once", lambda name: _direct(folder / name, api, 64)
    for broker in brokers:
        with _broker(broker, folder / broker) as server:
            for count in WORKERS:
                # Bound now: the loop goes on before it is called.
                def make(name: str, server: Server = server, count: int = count) -> Any:
                    return _queued(folder / name, api, server, count)

                yield f"{broker}, {count} workers", make


@contextmanager
def _broker(kind: str, folder: Path) -> Iterator[Server]:
    server = BROKERS[kind](folder)
    try:
        server.start()
        yield server
    finally:
        server.end()


@contextmanager
def _direct(folder: Path, api: str, exchanges: int) -> Iterator[World]:
    settings = {"pipelines": _pipelines(api), "limits": {"exchanges": exchanges}}
    with World(folder, api, b=settings) as world:
        world.start()
        yield world


@contextmanager
def _queued(folder: Path, api: str, server: Server, count: int) -> Iterator[World]:
    settings = {"pipelines": _pipelines(api), "queue": {"heartbeat": "2s"}}
    with ExitStack() as stack:
        queue = stack.enter_context(QueueWorld(folder, api, server, **settings))
        queue.world.start()
        for _ in range(count):
            queue.worker("--concurrency", str(CONCURRENCY), ready=False)
        for worker in queue.workers:
            worker.wait_ready(1)
        yield queue.world


def _pipelines(api: str) -> dict[str, Any]:
    call = {"name": "slow", "http": {"url": f"{api}/item/{{key}}"}, "concurrency": 1000}
    burn = {"name": "burn", "command": {"run": [sys.executable, "-c", BURN]}, "concurrency": 1000}
    return {
        "slow": {"match": ["slow*.csv"], "steps": [call]},
        "burn": {"match": ["burn*"], "format": "raw", "steps": [burn]},
        "echo": {"match": ["echo*"], "format": "raw", "steps": [{"name": "c", "command": ["cat"]}]},
    }


@contextmanager
def _api(folder: Path) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "bench.slow_api", str(port), str(SLOW)]
    server = processes.start(argv, folder / "slow.log")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.end([server])


def _measured(world: World, files: int) -> dict[str, float]:
    records = "".join(f"{{}}-{number}\n" for number in range(RECORDS))
    _together(world, "warm", 10, lambda n: b"key\n" + records.replace("{}", f"w{n}").encode())
    row = {}
    seconds = _together(
        world, "slow", files, lambda n: b"key\n" + records.replace("{}", f"s{n}").encode()
    )
    row[f"slow API ({SLOW} ms), files/s"] = files / seconds
    few = max(files // 5, 10)
    row["0.1 s of CPU each, files/s"] = few / _together(world, "burn", few, lambda n: b"x")
    times = [_together(world, f"echo{number}", 1, lambda n: b"x") for number in range(30)]
    row["one file alone, ms"] = statistics.median(times) * 1e3
    return row


def _together(world: World, name: str, count: int, content: Callable[[int], bytes]) -> float:
    """Seconds until so many files that are dropped at once have come back."""
    kind = "slow" if name == "warm" else name
    names = [f"{kind}-{name}-{number}.csv" for number in range(count)]
    began = time.perf_counter()
    for number, each in enumerate(names):
        world.drop(each, content(number))
    for each in names:
        world.result(each, PATIENCE)
    return time.perf_counter() - began


def _table(found: dict[str, list[dict[str, float]]]) -> list[report.Row]:
    columns = list(next(iter(found.values()))[0])
    rows: list[report.Row] = [("", *columns)]
    for contestant, rounds in found.items():
        values = [statistics.median(each[column] for each in rounds) for column in columns]
        rows.append((contestant, *(f"{value:,.1f}" for value in values)))
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
