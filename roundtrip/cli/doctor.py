"""`roundtrip doctor`: what is wrong on this host, how bad it is, and what mends it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.doctor.examination import Examination


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `doctor` command."""
    parser = subparsers.add_parser(
        "doctor",
        parents=[common],
        help="look for what is wrong on this host, and say what mends it",
    )
    parser.add_argument("--offline", action="store_true", help="connect to no API host")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print all findings; the exit code says how bad the worst is."""
    from roundtrip.doctor.examination import examine

    found = examine(args.config, args.role, offline=args.offline)
    if args.json:
        print(json.dumps(_report(found), indent=2))
    else:
        from roundtrip.cli.doctor_view import show

        show(found)
    return _exit_code(found)


def _exit_code(found: Examination) -> ExitCode:
    from roundtrip.doctor.findings import Severity

    codes = {Severity.WARNING: ExitCode.WARNED, Severity.ERROR: ExitCode.UNWELL}
    return codes.get(found.worst, ExitCode.OK)


def _report(found: Examination) -> dict[str, object]:
    settings = found.settings
    return {
        "worst": found.worst,
        "role": settings and settings.role,
        "file": settings and str(settings.file),
        "findings": [finding._asdict() for finding in found.findings],
        "facts": found.facts,
    }
