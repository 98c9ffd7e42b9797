"""Medians over the rounds, ratios, and the tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from bench.idle import Idle
from bench.measure import Result

Rounds = dict[str, list[Result]]  # by contestant
Row = Sequence[str]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` from 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latency(rounds: Rounds) -> list[Row]:
    """p50 and p99 of each contestant, and how many times those of the floor and of roundtrip."""
    found = {}
    for name, results in rounds.items():
        good = [each.latencies for each in results if each.latencies]
        if good:
            p50 = statistics.median(percentile(each, 0.50) for each in good)
            p99 = statistics.median(percentile(each, 0.99) for each in good)
            found[name] = (p50, p99)
    rows: list[Row] = [
        ("latency", "p50 ms", "p99 ms", "p50/floor", "p99/floor", "p50/roundtrip", "n", "missing")
    ]
    for name, (p50, p99) in found.items():
        floor, ours = found.get("floor"), found.get("roundtrip")
        rows.append(
            (
                name,
                f"{p50 * 1e3:.2f}",
                f"{p99 * 1e3:.2f}",
                _times(p50, floor and floor[0]),
                _times(p99, floor and floor[1]),
                _times(p50, ours and ours[0]),
                str(sum(len(each.latencies) for each in rounds[name])),
                str(sum(each.missing + each.wrong for each in rounds[name])),
            )
        )
    return rows


def throughput(rounds: Rounds) -> list[Row]:
    """Files a second, CPU and memory of each contestant."""
    rates = {
        name: statistics.median(each.done / each.seconds for each in results if each.seconds)
        for name, results in rounds.items()
        if any(each.seconds for each in results)
    }
    rows: list[Row] = [
        (
            "throughput",
            "files/s",
            "of floor",
            "roundtrip is",
            "CPU ms/file",
            "peak RSS MB",
            "missing",
        )
    ]
    for name, rate in rates.items():
        results = rounds[name]
        cpu = statistics.median(each.cpu / max(1, each.done) for each in results)
        rss = statistics.median(sum(each.peak_rss.values()) for each in results)
        rows.append(
            (
                name,
                f"{rate:.0f}",
                _share(rate, rates.get("floor")),
                _times(rates["roundtrip"], rate) if "roundtrip" in rates else "",
                f"{cpu * 1e3:.2f}",
                f"{rss / 1e6:.0f}",
                str(sum(each.missing + each.wrong for each in results)),
            )
        )
    return rows


def kill9(rounds: Rounds) -> list[Row]:
    """What was lost and doubled over all rounds."""
    rows: list[Row] = [
        ("kill -9", "verdict", "files", "kills", "lost", "stuck inputs", "doubled", "torn seen")
    ]
    for name, results in rounds.items():
        total = {key: sum(getattr(each, key) for each in results) for key in _KILL_KEYS}
        bad = total["lost"] or total["doubled"] or total["torn"]
        files = total["done"] + total["lost"]
        verdict = "damaged" if bad else "survived"
        counts = (total[key] for key in ("kills", "lost", "stuck", "doubled", "torn"))
        rows.append((name, verdict, str(files), *map(str, counts)))
    return rows


_KILL_KEYS = ("done", "kills", "lost", "stuck", "doubled", "torn")


def idle(rounds: dict[str, list[Idle]]) -> list[Row]:
    """Wake-ups, CPU and resident memory at rest."""
    rows: list[Row] = [("idle", "wake-ups/s", "CPU ms/s", "RSS MB of each process")]
    for name, results in rounds.items():
        wakeups = statistics.median(each.wakeups / each.seconds for each in results)
        cpu = statistics.median(each.cpu / each.seconds for each in results)
        each_rss = " + ".join(
            f"{name.partition('[')[0]} {size / 1e6:.0f}"
            for name, size in results[-1].resident.items()
        )
        rows.append((name, f"{wakeups:.2f}", f"{cpu * 1e3:.2f}", each_rss))
    return rows


def start_up(found: dict[str, tuple[float, float]]) -> list[Row]:
    """Start-up of the command beside bare Python."""
    rows: list[Row] = [("start-up", "min ms", "median ms")]
    rows += [(name, f"{low * 1e3:.1f}", f"{mid * 1e3:.1f}") for name, (low, mid) in found.items()]
    return rows


def table(rows: Sequence[Row]) -> str:
    """Plain text with aligned columns; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Row) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(rows[0]), "-" * len(line(rows[0])), *map(line, rows[1:])])


def raw(results: Iterable[Result | Idle]) -> list[dict[str, object]]:
    """The measurements themselves, for JSON."""
    return [asdict(each) for each in results]


def _times(value: float, base: float | None) -> str:
    return f"{value / base:.2f}x" if base else ""


def _share(value: float, base: float | None) -> str:
    return f"{value / base * 100:.0f}%" if base else ""
