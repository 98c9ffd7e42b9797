"""`python -m roundtrip.testing`: run seeds by hand, for as long as you like."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from roundtrip.errors import ExitCode
from roundtrip.testing.campaign import Totals, campaign
from roundtrip.testing.faults import PROFILES

_SHOWN = 3  # violations that are printed in full; the others by their first line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign of the command line; 1 if a seed found something."""
    parser = argparse.ArgumentParser(prog="python -m roundtrip.testing", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first (default: 0)")
    parser.add_argument(
        "--profile",
        choices=(*PROFILES, "each"),
        default="all",
        help="the kinds of faults; each: one profile after the other (default: all)",
    )
    args = parser.parse_args(arguments)
    profiles = list(PROFILES) if args.profile == "each" else [args.profile]
    seeds = range(args.first, args.first + args.seeds)
    return ExitCode.FAILED if sum([_run(seeds, name) for name in profiles]) else ExitCode.OK


def _run(seeds: range, profile: str) -> int:
    totals = campaign(seeds, profile)
    for number, violation in enumerate(totals.violations):
        text = violation if number < _SHOWN else violation.partition("\n")[0]
        sys.stdout.write(f"{text}\n\n" if number < _SHOWN else f"{text}\n")
    sys.stdout.write(_summary(profile, totals))
    sys.stdout.flush()
    return len(totals.violations)


def _summary(profile: str, totals: Totals) -> str:
    needless = ", ".join(f"{reason} {count}" for reason, count in sorted(totals.needless.items()))
    return (
        f"{profile}: {totals.seeds} seeds in {totals.seconds:.0f} s, {totals.exchanges} exchanges, "
        f"{totals.operations} operations, {totals.deaths} deaths, {totals.runs} enrichments "
        f"(again: {needless or 'none'}), longest convergence {totals.calm:.0f} s; "
        f"{len(totals.violations)} violations\n"
    )


if __name__ == "__main__":
    sys.exit(main())
