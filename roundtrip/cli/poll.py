"""`roundtrip poll`: wait for what was sent, and pick it up."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, InputError

if TYPE_CHECKING:
    from roundtrip.cli.pickup import Item
    from roundtrip.client import AsyncClient

_EVERY = 180.0


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `poll` command."""
    parser = subparsers.add_parser(
        "poll",
        parents=[common],
        help="wait for what was sent, and print its answer",
        description="Waits until the exchange is answered and writes the answer to stdout; "
        "why there is none, to standard error. The exit status tells done (0), failed (1), still "
        "running (6) and expired (12). Without a name it lists what was sent and can be picked up. "
        "The answer stays in the inbox, and can be picked up again.",
    )  # fmt: skip
    parser.add_argument("exchanges", nargs="*", metavar="NAME", help="as `send` has printed it")
    parser.add_argument(
        "-i", "--interval", type=float, default=_EVERY, metavar="SECONDS",
        help=f"ask that often, beside looking whenever the kernel reports something "
        f"(default: {_EVERY:g})",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="wait no longer than this; 0: ask once"
    )
    parser.add_argument("--path", action="store_true", help="print where the answer lies instead")
    parser.add_argument(
        "--remove", action="store_true",
        help="take the answer out of the inbox once it is printed whole",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object for each")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Wait and pick up; without names, list."""
    from roundtrip.client import AsyncClient

    if not args.interval > 0:
        print("roundtrip: -i: must be more than 0", file=sys.stderr)
        return ExitCode.USAGE
    client = AsyncClient(args.config)
    if not args.exchanges:
        return asyncio.run(_list(client, as_json=args.json))
    for exchange in args.exchanges:
        if not client.knows(exchange):
            raise InputError(f"{exchange}: nothing of this name was sent here, or it was picked up")
    return asyncio.run(_pick_up(client, args))


async def _pick_up(client: AsyncClient, args: argparse.Namespace) -> int:
    from roundtrip.cli.pickup import Manner, pick_up

    manner = Manner(True, args.json, args.timeout, args.interval, forget=args.remove)
    return await pick_up(client, _wanted(args), manner)


async def _wanted(args: argparse.Namespace) -> AsyncIterator[Item]:
    from roundtrip.cli.pickup import Item

    for name in args.exchanges:
        yield Item(name, name, not args.path and not args.json, args.remove)


async def _list(client: AsyncClient, *, as_json: bool) -> int:
    for exchange, stage in await client.sent():
        found = {"exchange": exchange, "stage": stage}
        print(json.dumps(found) if as_json else f"{exchange}  {stage}")
    return ExitCode.OK
