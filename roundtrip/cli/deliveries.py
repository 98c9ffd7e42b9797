"""`roundtrip deliveries`: what is still to be delivered, or can't be, and what to do about it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, InputError, RoundtripError

if TYPE_CHECKING:
    from roundtrip.queues import Item, Queue


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `deliveries` command."""
    deliveries = subparsers.add_parser(
        "deliveries", help="show, retry or drop what is to be delivered (role a)"
    )
    actions = deliveries.add_subparsers(dest="action", required=True, metavar="list|retry|drop")
    listing = actions.add_parser("list", parents=[common], help="list what is due, and dead")
    listing.set_defaults(func=show_all)
    again = actions.add_parser(
        "retry", parents=[common], help="try dead ones again, and others now"
    )
    again.set_defaults(func=retry, parser=again)
    away = actions.add_parser("drop", parents=[common], help="deliver them never")
    away.set_defaults(func=drop, parser=away)
    for parser in (again, away):
        parser.add_argument(
            "names", metavar="NAME", nargs="*", help="EXCHANGE/DELIVERY, or how an exchange begins"
        )
        parser.add_argument("--all", action="store_true", help="all that `list` shows")
    for parser in (listing, again, away):
        parser.add_argument("--delivery", metavar="NAME", help="of this delivery only")
        parser.add_argument("--dead", action="store_true", help="dead ones only")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")


def show_all(args: argparse.Namespace) -> int:
    """List what there is."""
    from roundtrip.cli.deliveries_view import table

    found = asyncio.run(_items(args))
    items = [item for _, item in found]
    if args.json:
        print(json.dumps([item.as_dict() for item in items], indent=2))
    elif items:
        print(table(items, header=sys.stdout.isatty()))
    else:
        print("nothing is due, and nothing is dead", file=sys.stderr)
    return ExitCode.OK


def retry(args: argparse.Namespace) -> int:
    """Have them tried soon."""
    return asyncio.run(_each(args, "due"))


def drop(args: argparse.Namespace) -> int:
    """Remove them."""
    return asyncio.run(_each(args, "dropped"))


async def _items(args: argparse.Namespace) -> list[tuple[Queue, Item]]:
    from roundtrip.config import load
    from roundtrip.places import Places
    from roundtrip.queues import queues

    settings = load(args.config, args.role, secrets="named")
    places = Places(settings)
    places.check()
    return [
        (queue, item)
        for queue in queues(settings, places)
        if args.delivery in (None, queue.name)
        for item in await queue.items()
        if item.is_dead or not args.dead
    ]


async def _each(args: argparse.Namespace, done: str) -> int:
    if bool(args.names) == args.all:
        args.parser.error("say which: NAME..., or else --all")
    found = await _items(args)
    chosen = found if args.all else []
    code = ExitCode.OK
    for name in args.names:
        matching = [each for each in found if _is_meant(each[1], name)]
        if not matching:
            code = ExitCode.INPUT
            print(f"roundtrip: {name!a}: nothing like it is due or dead", file=sys.stderr)
        chosen += [each for each in matching if each not in chosen]
    results = []
    for queue, item in chosen:
        try:
            await (queue.retry(item) if done == "due" else queue.drop(item))
        except RoundtripError as error:
            code = code if code and not isinstance(error, InputError) else error.exit_code
            print(f"roundtrip: {error}", file=sys.stderr)
            continue
        results.append({"id": item.id, "done": done})
        if not args.json:
            print(f"{item.id}: {done}")
    if args.json:
        print(json.dumps(results, indent=2))
    return code


def _is_meant(item: Item, name: str) -> bool:
    return name == item.id or ("/" not in name and item.exchange.startswith(name))
