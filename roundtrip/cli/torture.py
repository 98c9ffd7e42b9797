"""`roundtrip torture`: the protocol under faults, on a mounted share of your own or simulated."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path
from typing import Any

from roundtrip.cli.values import time_span
from roundtrip.cli.words import printable
from roundtrip.errors import ExitCode, InputError

_MAX_SEED = 2**32


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `torture` command; it needs no configuration, so `common` is not used."""
    parser = subparsers.add_parser(
        "torture", help="run the protocol under faults on a mounted share, and say whether it fits"
    )
    parser.add_argument(
        "share", type=Path, nargs="?", metavar="DIR", help="a folder on the mounted share"
    )
    parser.add_argument(
        "--seconds", type=time_span, default=60.0, metavar="DURATION",
        help="how long to work there, such as 90 (seconds) or 15m (default: 60)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="N", help="what chance begins with (default: any)"
    )
    parser.add_argument(
        "--simulate",
        type=int,
        metavar="SEEDS",
        help="no share: run so many seeds, from --seed on, in virtual time",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Torture, show the report, and return the exit code."""
    if args.simulate is not None:
        return _simulate(args.simulate, args.seed or 0)
    if args.share is None:
        raise InputError("name a folder on the mounted share: roundtrip torture DIR")
    if not 0 < args.seconds <= 7 * 86400:
        raise InputError("--seconds: more than 0, and a week at most")
    from roundtrip.testing.supervise import torture

    seed = secrets.randbelow(_MAX_SEED) if args.seed is None else args.seed
    report = {"share": str(args.share), "seed": seed, **torture(args.share, args.seconds, seed)}
    print(json.dumps(report, indent=2) if args.json else "\n".join(_lines(report)))
    return ExitCode.UNFIT if report["broken"] else ExitCode.OK


def _simulate(seeds: int, first: int) -> int:
    from roundtrip.testing.__main__ import main

    return main(["--seeds", str(seeds), "--from", str(first)])


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [f"{report['share']}: seed {report['seed']}"]
    if "sent" in report:
        lines += [
            f"{report['sent']} sent = {report['delivered']} delivered + {report['failed']} failed "
            f"+ {report['waiting']} waiting",
            f"{report['operations']} operations, {report['deaths']} deaths of a role, "
            f"{report['rules_tried']} tries of the folder's rules",
            *_latencies(report["latency"]),
        ]
        lines += [f"error of the share: {name} x {n}" for name, n in report["errors"].items()]
    lines += [f"BROKEN: {printable(text)}" for text in report["broken"]]
    verdict = "does not fit" if report["broken"] else "fits: every rule was kept"
    return [*lines, f"verdict: this share {verdict}"]


def _latencies(latency: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{operation:8} {found['count']:7} x  p50 {found['p50_ms']:9.3f} ms  "
        f"p99 {found['p99_ms']:9.3f} ms  longest {found['longest_ms']:9.3f} ms"
        for operation, found in latency.items()
    ]
