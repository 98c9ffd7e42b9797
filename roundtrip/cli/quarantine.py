"""`roundtrip quarantine`: what this host could not make an answer of, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, RoundtripError

if TYPE_CHECKING:
    from roundtrip.shelves.item import Item, ShelfOfItems

_PATIENCE = 5.0  # seconds that `retry` waits for the agent
_PAUSE = 0.05


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `quarantine` command."""
    quarantine = subparsers.add_parser(
        "quarantine", help="show, retry or drop what could not be answered"
    )
    actions = quarantine.add_subparsers(
        dest="action", required=True, metavar="list|show|retry|drop"
    )
    listing = actions.add_parser(
        "list", parents=[common], help="list failed originals (role a) or reports (role b)"
    )
    listing.set_defaults(func=show_all)
    one = actions.add_parser("show", parents=[common], help="show one, with its evidence")
    one.add_argument("name", metavar="NAME", help="its exchange, how that begins, or its file")
    one.set_defaults(func=show)
    again = actions.add_parser(
        "retry",
        parents=[common],
        help="send originals again (role a); have requests looked at afresh (role b)",
    )
    _add_names(again)
    again.set_defaults(func=retry, parser=again)
    away = actions.add_parser("drop", parents=[common], help="remove what nobody needs any more")
    _add_names(away)
    away.add_argument(
        "--file", action="store_true", help="role b: remove the request from Unenriched, too"
    )
    away.set_defaults(func=drop, parser=away)
    for parser in (listing, one, again, away):
        parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="an exchange, how that begins, or a file"
    )
    parser.add_argument("--all", action="store_true", help="all that `list` shows")


def show_all(args: argparse.Namespace) -> int:
    """List what there is, the oldest first."""
    from roundtrip.cli.quarantine_view import as_dict, table

    shelf = _shelf(args)
    items = asyncio.run(shelf.items())
    if args.json:
        print(json.dumps([as_dict(item) for item in items], indent=2))
    elif items:
        print(table(items, header=sys.stdout.isatty()))
    else:
        print(f"nothing in {shelf.folder}", file=sys.stderr)
    return ExitCode.OK


def show(args: argparse.Namespace) -> int:
    """Print one item with all that is known of it."""
    from roundtrip.cli.quarantine_view import as_dict, details
    from roundtrip.shelves.item import chosen

    item = chosen(asyncio.run(_shelf(args).items()), args.name)
    if args.json:
        print(json.dumps(as_dict(item, whole=True), indent=2))
    else:
        print(details(item))
    return ExitCode.OK


def retry(args: argparse.Namespace) -> int:
    """Give items another try."""
    from roundtrip.shelves.reports import ReportShelf

    shelf = _shelf(args)

    def done(item: Item) -> str:
        text = asyncio.run(shelf.retry(item))
        if isinstance(shelf, ReportShelf) and text == "waiting":
            return _awaited(shelf, item)
        return text

    return _each(args, shelf, done)


def drop(args: argparse.Namespace) -> int:
    """Remove items."""
    shelf = _shelf(args)
    return _each(args, shelf, lambda item: asyncio.run(shelf.drop(item, file=args.file)))


def _shelf(args: argparse.Namespace) -> ShelfOfItems:
    from roundtrip.config import load
    from roundtrip.places import Places
    from roundtrip.protocol.states import Role
    from roundtrip.shelves.failed import FailedShelf
    from roundtrip.shelves.reports import ReportShelf

    places = Places(load(args.config, args.role, secrets="named"))
    places.check()
    return FailedShelf(places) if places.role is Role.REQUESTER else ReportShelf(places)


def _awaited(shelf: object, item: Item) -> str:
    """What became of a wish, as far as the agent has come within our patience."""
    from roundtrip.shelves.reports import ReportShelf

    assert isinstance(shelf, ReportShelf)
    deadline = time.monotonic() + _PATIENCE
    while shelf.is_waiting(item):
        if time.monotonic() > deadline:
            return "noted; the agent has not come to it yet"
        time.sleep(_PAUSE)
    return "looked at afresh"


def _each(args: argparse.Namespace, shelf: ShelfOfItems, do: Callable[[Item], str]) -> int:
    """Do something with each item that was named; the exit code is that of the first failure."""
    from roundtrip.shelves.item import chosen

    if bool(args.names) == args.all:
        args.parser.error("say which: NAME..., or else --all")
    items = asyncio.run(shelf.items())
    results, code = [], ExitCode.OK
    for wanted in [item.label for item in items] if args.all else args.names:
        try:
            item = chosen(items, wanted)
            results.append({"label": item.label, "done": do(item)})
        except RoundtripError as error:
            code = code or error.exit_code
            results.append({"label": ascii(wanted), "error": str(error)})
            print(f"roundtrip: {error}", file=sys.stderr)
            continue
        if not args.json:
            print(f"{item.label}: {results[-1]['done']}")
    if args.json:
        print(json.dumps(results, indent=2))
    return code
