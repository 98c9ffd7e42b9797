"""`roundtrip cancel`: give exchanges up that were sent and are not answered yet."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.client import AsyncClient

_PATIENCE = 10.0  # seconds that a running agent gets to come to it
_PAUSE = 0.02


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `cancel` command."""
    parser = subparsers.add_parser(
        "cancel",
        parents=[common],
        help="give up what was sent and is not answered yet",
        description="The exchange fails: its original goes to failed/, with a document that says "
        "that it was cancelled. Host B stops working on it.",
    )
    parser.add_argument("exchanges", nargs="+", metavar="NAME", help="as `send` has printed it")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Cancel each; the exit status is that of the last one that could not be."""
    from roundtrip.client import AsyncClient

    client = AsyncClient(args.config)
    code = ExitCode.OK
    for exchange in args.exchanges:
        if asyncio.run(client.cancel(exchange)):
            print(f"{exchange}  {_awaited(client, exchange)}")
        else:
            print(f"roundtrip: {exchange}: nothing of this name is under way here",
                  file=sys.stderr)  # fmt: skip
            code = ExitCode.INPUT
    return code


def _awaited(client: AsyncClient, exchange: str) -> str:
    """What became of it, as far as the agent has come within our patience."""
    if not client.agent_runs():
        return "will be cancelled when an agent runs"
    deadline = time.monotonic() + _PATIENCE
    while client.is_under_way(exchange):
        if time.monotonic() > deadline:
            return "noted; the agent has not come to it yet"
        time.sleep(_PAUSE)
    return "cancelled"
