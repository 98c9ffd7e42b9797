"""A share used directly and through a helper: time of each call, large copies, memory."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import machine, report
from roundtrip.protocol.states import Role
from roundtrip.shares.identity import Identity, establish
from roundtrip.shares.remote import RemoteShare

MI = 1024 * 1024
CALLS = 2000
AT_ONCE = 32
ACCESSES = ("direct", "helper")

Row = dict[str, float]


def main(arguments: list[str]) -> int:
    """`scripts/bench share`: everything to stdout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench share", description=__doc__)
    parser.add_argument("--where", type=Path, default=Path(os.environ.get("TMPDIR", "/var/tmp")))
    parser.add_argument("--large", type=int, default=1024, metavar="MIB", help="the largest file")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    facts = machine.facts(" ".join(["scripts/bench share", *arguments]))
    facts["share on"] = machine.filesystem(options.where)
    found: dict[str, list[Row]] = {access: [] for access in ACCESSES}
    with tempfile.TemporaryDirectory(prefix="roundtrip-bench-", dir=options.where) as folder:
        large = _random_file(Path(folder) / "large", options.large * MI)
        for number in range(options.rounds):
            for access in ACCESSES:
                sys.stderr.write(f"round {number + 1}/{options.rounds}: {access}\n")
                place = Path(folder) / f"{access}{number}"
                found[access].append(asyncio.run(_measure(place, access, large)))
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines += ["", f"medians of {options.rounds} rounds", report.table(_table(found))]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _table(found: dict[str, list[Row]]) -> list[list[str]]:
    rows = [["", *found]]
    for what in found["helper"][0]:
        values = [
            statistics.median(each[what] for each in rounds) if what in rounds[0] else None
            for rounds in found.values()
        ]
        rows.append([what, *("-" if value is None else f"{value:,.1f}" for value in values)])
    return rows


def _random_file(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size // MI):
            file.write(os.urandom(MI))
    return path


async def _accept(found: Identity | None) -> None:
    """Every share is the right one."""


async def _measure(place: Path, access: str, large: Path) -> Row:
    await establish(place, Role.RESPONDER)
    share = RemoteShare(place, access=access, durable=False, timeout=60.0)
    began = time.perf_counter()
    await share.reopen(_accept)
    row = {"open the share, ms": (time.perf_counter() - began) * 1e3}
    small, middle = os.urandom(400), os.urandom(MI)
    if share.helper_pid is not None:
        row["helper's memory at the start, MiB"] = _memory(share.helper_pid)
    row["put 400 bytes, us"] = await _each(CALLS, lambda n: share.put(f"s{n}", small))
    row["stat, us"] = await _each(CALLS, lambda n: share.stat(f"s{n}"))
    row["remove, us"] = await _each(CALLS, lambda n: share.remove(f"s{n}"))
    row[f"put 400 bytes, {AT_ONCE} at once, a second"] = await _together(share, small)
    row["put 1 MiB, ms"] = await _each(100, lambda n: share.put(f"m{n}", middle)) / 1e3
    began = time.perf_counter()
    with large.open("rb") as file:
        await share.put("large", file)
    size = large.stat().st_size / MI
    row[f"put {size:.0f} MiB, MiB a second"] = size / (time.perf_counter() - began)
    if share.helper_pid is not None:
        row["helper's memory at the end, MiB"] = _memory(share.helper_pid)
    for name in await share.names():
        if name != ".roundtrip":
            await share.remove(name)
    await share.close()
    return row


async def _each(count: int, call: Callable[[int], Awaitable[object]]) -> float:
    """The median time of one call, in microseconds."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def _together(share: RemoteShare, content: bytes) -> float:
    """How many puts a second when several are under way all the time."""

    async def some(first: int) -> None:
        for number in range(first, CALLS, AT_ONCE):
            await share.put(f"t{number}", content)

    began = time.perf_counter()
    await asyncio.gather(*(some(first) for first in range(AT_ONCE)))
    return CALLS / (time.perf_counter() - began)


def _memory(pid: int) -> float:
    """A process's resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
