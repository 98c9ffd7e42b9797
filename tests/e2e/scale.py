"""Many files, a large one, and a long backlog: how long it takes, and what memory it needs.

    scripts/scale many [--count 10000]       small files through both agents
    scripts/scale large [--mebibytes 2048]   one file in raw mode
    scripts/scale backlog [--count 100000]   requests that wait in Unenriched when B starts

Each mode prints its figures and fails where a result isn't right bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from roundtrip.protocol.markers import Digest, RequestMarker
from roundtrip.protocol.names import Namer
from tests.e2e.api import Api
from tests.e2e.payloads import sample
from tests.e2e.world import Host, World, wait_until

MI = 1024 * 1024
Figures = dict[str, float | int | list[int]]

_TICK = os.sysconf("SC_CLK_TCK")
_KINDS = ("csv", "jsonl", "json", "raw")


def peak(host: Host) -> float:
    """The most memory that the agent ever had resident, in MiB (VmHWM of proc(5))."""
    return _status(host, "VmHWM")


def resident(host: Host) -> float:
    """The agent's resident memory now, in MiB."""
    return _status(host, "VmRSS")


def _status(host: Host, key: str) -> float:
    lines = Path(f"/proc/{host.pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(f"{key}:")]
    return round(int(line.split()[1]) / 1024, 1)


def descriptors(host: Host) -> int:
    """How many files the agent has open."""
    return len(os.listdir(f"/proc/{host.pid}/fd"))


def cpu(host: Host) -> float:
    """Seconds of CPU that the agent has used."""
    fields = Path(f"/proc/{host.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _count(folder: Path, suffix: str = "") -> int:
    return sum(name.endswith(suffix) and not name.startswith(".") for name in os.listdir(folder))


def many(world: World, count: int) -> Figures:
    """`count` small files of all formats, dropped as fast as it goes."""
    samples = [sample(Random(n), f"{n}.{_KINDS[n % 4]}", 300) for n in range(count)]
    staged = world.folder / "hostA" / "staged"
    staged.mkdir()
    for asked in samples:
        (staged / asked.name).write_bytes(asked.content)
    world.start()
    world.drop("warm-up.csv", b"key\nk1\n")
    world.result("warm-up.csv")
    (world.inbox / "warm-up.csv").unlink()
    before = {host.role: (resident(host), descriptors(host)) for host in (world.a, world.b)}
    began = time.monotonic()
    for asked in samples:
        (staged / asked.name).rename(world.outbox / asked.name)
    wait_until(lambda: _count(world.inbox) >= count, f"{count} results", count / 20 + 30, 0.1)
    seconds = time.monotonic() - began
    world.wait_closed(count / 100 + 20)
    wrong = [s.name for s in samples if (world.inbox / s.name).read_bytes() != s.result]
    assert not wrong, f"{len(wrong)} results are wrong: {wrong[:5]}"
    figures: Figures = {"files": count, "seconds": round(seconds, 2),
                        "files a second": round(count / seconds)}  # fmt: skip
    for host in (world.a, world.b):
        rss, files = before[host.role]
        figures |= {
            f"{host.role}: resident at first, MiB": rss,
            f"{host.role}: peak, MiB": peak(host),
            f"{host.role}: CPU seconds": cpu(host),
            f"{host.role}: open files before": files,
            f"{host.role}: open files after": descriptors(host),
        }
    return figures


def large(world: World, mebibytes: int) -> Figures:
    """One file in raw mode, echoed by the API as it comes."""
    need = (5 * mebibytes + 1024) * MI
    free = shutil.disk_usage(world.folder).free
    assert free > need, f"{world.folder}: {free // MI} MiB free, {need // MI} MiB needed"
    staged = world.folder / "hostA" / "large.raw"
    expected = _write_large(staged, mebibytes)
    world.start()
    before = {host.role: resident(host) for host in (world.a, world.b)}
    began = time.monotonic()
    staged.rename(world.outbox / "large.raw")
    result = world.inbox / "large.raw"
    wait_until(result.exists, "the result", mebibytes / 10 + 60, 0.05)
    seconds = time.monotonic() - began
    world.wait_closed(60)
    with result.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    assert found == expected, "the result is not what was sent"
    figures: Figures = {"MiB": mebibytes, "seconds": round(seconds, 1),
                        "MiB a second": round(mebibytes / seconds)}  # fmt: skip
    for host in (world.a, world.b):
        figures[f"{host.role}: resident at first, MiB"] = before[host.role]
        figures[f"{host.role}: peak, MiB"] = peak(host)
    return figures


def _write_large(path: Path, mebibytes: int) -> str:
    """Content that is made quickly and doesn't repeat; returns its SHA-256."""
    digest = hashlib.sha256()
    block = bytearray(Random(mebibytes).randbytes(MI))
    with path.open("wb") as file:
        for number in range(mebibytes):
            block[:8] = number.to_bytes(8)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def backlog(world: World, count: int) -> Figures:
    """Requests that wait when B starts; then B started again with all of them answered."""
    _request(world, count)
    figures: Figures = {"requests": count, **_first_start(world, count)}
    figures |= _listing(world)
    figures |= _start_again(world, "B again, all answered")
    for name in os.listdir(kept := world.b.folder("state/kept")):
        (kept / name).unlink()
    return figures | _start_again(world, "B again, nothing kept")


def _request(world: World, count: int) -> None:
    """What A would have published, without A: `count` requests of one record each."""
    namer = Namer()
    for number in range(count):
        content = b'{"key":"k%d"}\n' % number
        exchange = namer(f"{number}.jsonl")
        digest = Digest(len(content), hashlib.sha256(content).hexdigest())
        marker = RequestMarker(exchange, f"{number}.jsonl", digest)
        (world.unenriched / exchange).write_bytes(content)
        (world.unenriched / f"{exchange}.done").write_bytes(marker.encode())


def _first_start(world: World, count: int) -> Figures:
    began = time.monotonic()
    world.b.start(ready=False)

    def answered() -> int:
        return _count(world.enriched, ".done")

    wait_until(answered, "the first answer", 60)
    first = time.monotonic() - began
    each_second: list[int] = []
    seen = answered()
    while seen < count:
        time.sleep(1)  # Nothing is waited for: this is the clock of a measurement.
        now = answered()
        each_second.append(now - seen)
        seen = now
        assert world.b.process and world.b.process.poll() is None, "B has ended"
        assert any(each_second[-20:]), f"no progress for 20 s; {seen} of {count} answered"
    seconds = time.monotonic() - began
    return {
        "first answer after, s": round(first, 2),
        "all answered after, s": round(seconds, 1),
        "answers a second": round(count / seconds),
        "answers in each second": each_second,
        "b: peak, MiB": peak(world.b),
    }


def _listing(world: World) -> Figures:
    """What nobody can do without: the names of both shares, read by a fresh process."""
    code = "import os, sys; [os.listdir(path) for path in sys.argv[1:]]"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code, world.unenriched, world.enriched], check=True)
    return {"bare listing by a Python process, s": round(time.monotonic() - began, 2)}


def _start_again(world: World, what: str) -> Figures:
    world.b.end()
    began = time.monotonic()
    world.b.start(ready=False)
    world.b.wait_ready(60)
    ready = time.monotonic() - began
    idle = _until_idle(world.b) - began
    return {
        f"{what}: ready after, s": round(ready, 2),
        f"{what}: idle after, s": round(idle, 2),
        f"{what}: CPU, s": cpu(world.b),
        f"{what}: peak, MiB": peak(world.b),
    }


def _until_idle(host: Host) -> float:
    """Wait until the agent has used no CPU for a second; returns when that began."""
    used, since = cpu(host), time.monotonic()

    def idle() -> bool:
        nonlocal used, since
        now = cpu(host)
        if now > used + 0.02:
            used, since = now, time.monotonic()
        return time.monotonic() - since > 1

    wait_until(idle, "idle", 300, 0.05)
    return since


MODES: dict[str, tuple[Callable[[World, int], Figures], str, int]] = {
    "many": (many, "count", 10_000),
    "large": (large, "mebibytes", 2048),
    "backlog": (backlog, "count", 100_000),
}


@contextmanager
def _disk(folder: Path | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="roundtrip-scale-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main() -> int:
    """The command `scripts/scale`."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to work; default: the temporary folder")
    modes = parser.add_subparsers(dest="mode", required=True)
    for mode, (_, option, default) in MODES.items():
        modes.add_parser(mode).add_argument(f"--{option}", dest="size", type=int, default=default)
    args = parser.parse_args()
    measure = MODES[args.mode][0]
    with _disk(args.folder) as folder, Api() as api, World(folder / "world", api.url) as world:
        try:
            figures = measure(world, args.size)
        except AssertionError as error:
            print(f"FAULT {error}\n{world.log_tails()}", file=sys.stderr)
            return 1
        for name, figure in figures.items():
            print(f"{name:42}{figure}")
        for fault in world.defects():
            print(f"FAULT {fault}", file=sys.stderr)
        return 1 if world.defects() else 0


if __name__ == "__main__":
    sys.exit(main())
