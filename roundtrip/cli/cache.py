"""`roundtrip cache stats` and `roundtrip cache purge`: the answers that host B keeps."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from roundtrip.cli.values import duration
from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.enrich.store.figures import Figures, Step
    from roundtrip.places import Places


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `cache` command."""
    cache = subparsers.add_parser("cache", help="show or remove the answers that host B keeps")
    actions = cache.add_subparsers(dest="action", required=True, metavar="stats|purge")
    stats_parser = actions.add_parser(
        "stats", parents=[common], help="count cached answers, and those of open exchanges"
    )
    stats_parser.add_argument("--json", action="store_true", help="print it as JSON")
    stats_parser.set_defaults(func=stats)
    purge_parser = actions.add_parser(
        "purge", parents=[common], help="remove cached answers; exchanges that are open keep theirs"
    )
    purge_parser.add_argument(
        "--step", metavar="PIPELINE/STEP", help="only those of this step, as `cache stats` names it"
    )
    purge_parser.add_argument(
        "--older-than",
        type=duration,
        metavar="DURATION",
        help="only those that were asked for longer ago (7d, 12h)",
    )
    purge_parser.add_argument("--all", action="store_true", help="all of them")
    purge_parser.set_defaults(func=purge, parser=purge_parser)


def stats(args: argparse.Namespace) -> int:
    """Print figures, with or without a running agent or worker."""
    places = _places(args)
    if places is None:
        return ExitCode.USAGE
    from roundtrip.enrich.store.figures import figures
    from roundtrip.ledgers import ledgers

    own, *workers = [figures(each.file) for each in ledgers(places)]
    if args.json:
        print(json.dumps({**own, "workers": workers}, indent=2))
    else:
        shown = [own, *workers] if own["disk"] or not workers else workers
        print("\n\n".join(map(_table, shown)))
    return ExitCode.OK


def purge(args: argparse.Namespace) -> int:
    """Remove what the arguments name, or have who runs do it; print how many went."""
    limited = args.step is not None or args.older_than is not None
    if limited == args.all:
        args.parser.error("say what to remove: --step, --older-than (or both), or else --all")
    places = _places(args)
    if places is None:
        return ExitCode.USAGE
    from roundtrip.cli.cache_purge import purged
    from roundtrip.enrich.store.wishes import Wish
    from roundtrip.ledgers import ledgers

    before = None if args.older_than is None else time.time() - args.older_than
    removed = purged(list(ledgers(places)), Wish(args.step, before))
    print("1 cached answer removed" if removed == 1 else f"{removed} cached answers removed")
    return ExitCode.OK


def _places(args: argparse.Namespace) -> Places | None:
    """Where everything is; None, and a line about it, on the host that has no cache."""
    from roundtrip.config import load
    from roundtrip.places import Places

    settings = load(args.config, args.role)
    if settings.role == "b":
        return Places(settings)
    print(
        f"roundtrip: {settings.file}: this is role a; answers are kept on the other host, "
        "run this there",
        file=sys.stderr,
    )
    return None


def _table(found: Figures) -> str:
    cache = found["cache"]
    lines = [
        f"{found['file']}: {_size(found['disk'])} on disk",
        f"cached answers: {_counts(cache)}",
        *(f"  {name}: {_counts(step)}" for name, step in found["steps"].items()),
        f"open exchanges: {found['exchanges']}, with {found['answers']} answers "
        f"and {found['tickets']} jobs under way",
    ]
    return "\n".join(lines)


def _counts(step: Step) -> str:
    counts = f"{step['entries']}, {_size(step['bytes'])}"
    return f"{counts} ({step['fresh']} fresh, {step['stale']} stale)"


def _size(count: int) -> str:
    """Bytes as people read them."""
    size, units = float(count), iter(("KiB", "MiB", "GiB"))
    unit = "B"
    while size >= 1024 and unit != "GiB":
        size, unit = size / 1024, next(units)
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
