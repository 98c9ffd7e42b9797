"""`roundtrip status`: how many exchanges are in which state, and how both sides are."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from roundtrip.cli.values import interval
from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.survey import Report


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `status` command."""
    parser = subparsers.add_parser(
        "status", parents=[common], help="show what is under way and how both sides are"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--watch", action="store_true", help="show it anew until Ctrl-C")
    parser.add_argument(
        "--interval", type=interval, default=2.0, metavar="DURATION",
        help="pause of --watch (default: 2s)",
    )  # fmt: skip
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Look at the folders and print a report; the exit code is SHARE if a share isn't well."""
    import asyncio

    from roundtrip.config import load
    from roundtrip.survey import Surveyor

    surveyor = Surveyor(load(args.config, args.role, secrets="named"))
    if args.watch and not args.json:
        _show_live(surveyor, args.interval)
        return ExitCode.OK
    while True:
        report = asyncio.run(surveyor.report())
        if args.json:
            print(json.dumps(report, indent=None if args.watch else 2), flush=True)
        else:
            from rich.console import Console

            from roundtrip.cli.status_view import render

            Console().print(render(report))
        if not args.watch:
            return _exit_code(report)
        time.sleep(args.interval)


def _exit_code(report: Report) -> int:
    healthy = all(share["health"] == "ok" for share in report["shares"].values())
    return ExitCode.OK if healthy else ExitCode.SHARE


def _show_live(surveyor: object, interval: float) -> None:
    import asyncio

    from rich.live import Live

    from roundtrip.cli.status_view import render
    from roundtrip.survey import Surveyor

    assert isinstance(surveyor, Surveyor)
    with Live(auto_refresh=False) as live:
        while True:
            live.update(render(asyncio.run(surveyor.report()), bars=True), refresh=True)
            time.sleep(interval)
