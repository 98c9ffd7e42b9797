"""`roundtrip poll`: wait for what was sent, and pick it up."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from roundtrip.cli.values import duration, interval
from roundtrip.cli.words import attempts_words
from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.cli.handing_out import Item
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
        "running (6), expired (12) and taken out of the inbox already (13). Without a name it "
        "lists what was sent and can be picked up. The answer stays in the inbox, and can be "
        "picked up again.",
    )  # fmt: skip
    parser.add_argument("exchanges", nargs="*", metavar="NAME", help="as `send` has printed it")
    parser.add_argument(
        "-i", "--interval", type=interval, default=_EVERY, metavar="DURATION",
        help="ask that often, such as 90 (seconds) or 15m, beside looking whenever the kernel "
        "reports something (default: 3m)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=duration, metavar="DURATION",
        help="wait no longer than this; 0: ask once",
    )  # fmt: skip
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
    from roundtrip.waiting import unknown

    client = AsyncClient(args.config)
    if not args.exchanges:
        return asyncio.run(_list(client, as_json=args.json))
    for exchange in args.exchanges:
        if not client.knows(exchange):
            raise unknown(exchange)
    return asyncio.run(_pick_up(client, args))


async def _pick_up(client: AsyncClient, args: argparse.Namespace) -> int:
    from roundtrip.cli.handing_out import Manner
    from roundtrip.cli.pickup import pick_up

    manner = Manner(True, args.json, args.timeout, args.interval, forget=args.remove, is_late=True)
    return await pick_up(client, _wanted(args), manner)


async def _wanted(args: argparse.Namespace) -> AsyncIterator[Item]:
    from roundtrip.cli.handing_out import Item

    for name in args.exchanges:
        yield Item(name, name, not args.path and not args.json, args.remove, args.remove)


async def _list(client: AsyncClient, *, as_json: bool) -> int:
    from roundtrip.survey import about_restarts

    for exchange, stage in await client.sent():
        found: dict[str, object] = {"exchange": exchange, "stage": stage}
        words = f"{exchange}  {stage}"
        if again := client.restarts(exchange):
            words = f"{words}  {attempts_words(about_restarts(again), time.time())}"
            found |= about_restarts(again)
        print(json.dumps(found) if as_json else words)
    return ExitCode.OK
