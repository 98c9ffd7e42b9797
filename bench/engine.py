"""scripts/bench calls|slow|cached: the enrichment engine beside its own parts and beside scripts.

calls: calls a second inside one file against nginx, at 1, 50 and 500 in flight.
slow: the same against an API that takes 100 ms, at 2,000 in flight.
cached: records a second when every answer is known, beside plain parsing and writing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, processes, report
from bench.api import Api, free_port
from bench.cache import Cache, default_folder

KINDS = ("calls", "slow", "cached")
CALLERS = ("direct", "roundtrip", "script", "node-red")
IN_FLIGHT = {"calls": "1,50,500", "slow": "2000", "cached": "50"}
RECORDS = {"calls": 10_000, "slow": 20_000, "cached": 200_000}
SLOW = 100  # milliseconds


@dataclass
class Case:
    """What is measured side by side, and what came of it: rounds by contestant."""

    title: str
    contestants: tuple[str, ...]
    arguments: list[str]
    reference: str
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def main() -> int:
    """Run what the command line asks for. Returns the exit status."""
    options = _options()
    cases = list(_cases(options))
    facts = machine.facts(shlex.join(["scripts/bench", *sys.argv[1:]]))
    with (
        tempfile.TemporaryDirectory(prefix="roundtrip-bench-", dir=options.dir) as place,
        _api(options.what, Path(place)) as url,
    ):
        for number in range(options.rounds):
            for case in cases:
                _round(case, number, url, options.records, Path(place))
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines.append(f"files and ledger on {machine.filesystem(Path(options.dir))}")
    for case in cases:
        lines += ["", case.title, report.table(_table(case, options.records))]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--in-flight", help="numbers with commas between them")
    parser.add_argument("--records", type=int)
    parser.add_argument("--only", help="contestants, with commas between them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default="/var/tmp", help="where files and ledger are")
    options = parser.parse_args()
    options.in_flight = options.in_flight or IN_FLIGHT[options.what]
    options.records = options.records or RECORDS[options.what]
    return options


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    if options.what == "cached":
        for kind in ("csv", "jsonl"):
            arguments = ["--format", kind]
            yield Case(f"{kind}, every answer known", ("plain", "cached"), arguments, "plain")
        return
    for number in options.in_flight.split(","):
        title = f"{options.what}, {number} in flight"
        contestants = tuple(options.only.split(",")) if options.only else CALLERS
        yield Case(title, contestants, ["--in-flight", number], "direct")


@contextmanager
def _api(what: str, place: Path) -> Iterator[str]:
    if what != "slow":
        with Api(Cache(default_folder()), place / "api") as api:
            yield api.url
        return
    port = free_port()
    argv = [sys.executable, "-m", "bench.slow_api", str(port), str(SLOW)]
    server = processes.start(argv, place / "slow.log")
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        processes.end([server])


def _round(case: Case, number: int, url: str, records: int, place: Path) -> None:
    for name in case.contestants:
        sys.stderr.write(f"round {number + 1}: {case.title}, {name}\n")
        with tempfile.TemporaryDirectory(dir=place) as own:
            argv = [sys.executable, "-m", "bench.contestants", name, "--url", url, "--place", own]
            argv += ["--records", str(records), *case.arguments]
            done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            sys.stderr.write(done.stderr)
            continue
        case.rounds.setdefault(name, []).append(json.loads(done.stdout))


def _table(case: Case, records: int) -> list[report.Row]:
    rates = {
        name: statistics.median(records / each["seconds"] for each in rounds)
        for name, rounds in case.rounds.items()
    }
    rows: list[report.Row] = [
        ("contestant", "records/s", f"of {case.reference}", "peak RSS MB", "calls", "failed")
    ]
    for name, rate in rates.items():
        last = case.rounds[name][-1]
        share = rate / rates[case.reference] if case.reference in rates else 0.0
        rows.append(
            (
                name,
                f"{rate:,.0f}",
                f"{share:.2f}",
                f"{max(each['rss'] for each in case.rounds[name]) / 1e6:.0f}",
                f"{last['calls']:.0f}",
                f"{last.get('failed', 0):.0f}",
            )
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
