"""`roundtrip send`: hand files to the agent of role a, and say how their answers come back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.cli.values import time_span
from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.cli.pickup import Item
    from roundtrip.client import AsyncClient

_DESCRIPTION = """
How the answer comes back, by -t: `poll` prints the exchange's name and returns, and `roundtrip poll
NAME` picks the answer up whenever you like; `pipe` blocks and writes the answer to standard output;
`email` takes an address before the files and returns as well; the answer, or why there is none, is
mailed there.
--wait blocks and prints the path of each answer instead; for - the answer itself. Whatever the
way, the answer lies in the inbox; what came on standard input is removed there once it is printed.
"""


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `send` command."""
    parser = subparsers.add_parser(
        "send",
        parents=[common],
        help="send files; their answers come by pipe, mail, or when you ask for them",
        description=_DESCRIPTION,
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="a file, or - for standard input; with -t email, an address comes first",
    )  # fmt: skip
    parser.add_argument(
        "-t",
        "--type",
        choices=("poll", "pipe", "email"),
        help="how the answer comes back: see above",
    )
    parser.add_argument("--wait", action="store_true", help="block until the answer is there")
    parser.add_argument("--pipeline", help="the pipeline to use; default: B chooses by name")
    parser.add_argument("--name", help="the original name of what comes on standard input")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS",
        help="block no longer than this; the exchange goes on",
    )  # fmt: skip
    parser.add_argument(
        "--deadline", type=time_span, metavar="DURATION",
        help="give the exchange up after this, such as 30s, 15m, 2h or 30d; it fails then",
    )  # fmt: skip
    parser.add_argument(
        "--attempts", type=int, default=1, metavar="N",
        help="a job that failed is started again, until it was tried N times (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--pause", type=time_span, metavar="DURATION", default=60.0,
        help="with --attempts: wait so long before the second attempt, twice as long before each "
        "further one (default: 1m)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Send, and wait if asked to; results go to stdout, everything else to stderr."""
    import asyncio

    from roundtrip.client import AsyncClient

    args.to = args.files.pop(0) if args.type == "email" else None
    if wrong := _wrong(args):
        print(f"roundtrip: {wrong}", file=sys.stderr)
        return ExitCode.USAGE
    client = AsyncClient(args.config)
    if not client.agent_runs():
        print("roundtrip: no agent of role a runs here; start: roundtrip agent --role a",
              file=sys.stderr)  # fmt: skip
    return asyncio.run(_send(client, args))


def _wrong(args: argparse.Namespace) -> str | None:
    """What is wrong with the options as a whole."""
    if not args.files:
        return "-t email takes an address, and then files"
    if args.files.count("-") > 1:
        return "standard input can be sent once only"
    if args.wait and args.type is not None:
        return f"--wait prints paths; with -t {args.type} leave it out"
    return None if args.attempts > 0 else "--attempts: must be 1 or more"


async def _send(client: AsyncClient, args: argparse.Namespace) -> int:
    from roundtrip.cli.pickup import Manner, pick_up

    if args.wait or args.type == "pipe":
        manner = Manner(args.type == "pipe", args.json, args.timeout)
        return await pick_up(client, _sent(client, args), manner)
    async for item in _sent(client, args):
        found = {"file": item.file, "exchange": item.exchange}
        print(json.dumps(found) if args.json else item.exchange, flush=True)
    return ExitCode.OK


async def _sent(client: AsyncClient, args: argparse.Namespace) -> AsyncIterator[Item]:
    from roundtrip.cli.pickup import Item

    for file in args.files:
        exchange = await _submit(client, file, args)
        yield Item(file, exchange, args.type == "pipe" or file == "-", file == "-")


async def _submit(client: AsyncClient, file: str, args: argparse.Namespace) -> str:
    from roundtrip.roles.ticket import Restarts

    again = Restarts(args.attempts - 1, args.pause) if args.attempts > 1 else None
    if file != "-":
        return await client.submit(
            file, pipeline=args.pipeline, deadline=args.deadline, again=again, mail=args.to
        )
    name = Path(args.name or "stdin").name
    return await client.submit_stream(
        sys.stdin.buffer, name, pipeline=args.pipeline, deadline=args.deadline, again=again,
        mail=args.to,
    )  # fmt: skip
