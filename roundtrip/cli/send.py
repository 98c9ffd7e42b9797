"""`roundtrip send`: hand files to the agent of role a, and say how their answers come back."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.cli.streams import to_stdout
from roundtrip.cli.values import duration, time_span
from roundtrip.cli.words import complain, summarize
from roundtrip.errors import ExitCode, RoundtripError, ShareError

if TYPE_CHECKING:
    from roundtrip.cli.handing_out import Item, Unsent
    from roundtrip.client import AsyncClient

_DESCRIPTION = """
How the answer comes back, by -t: `poll` prints the exchange's name and returns, and `roundtrip poll
NAME` picks the answer up whenever you like; `pipe` blocks and writes the answer to standard output;
`email` takes an address before the files and returns as well; the answer, or why there is none, is
mailed there.
--wait blocks and prints the path of each answer instead; for - the answer itself. Whatever the
way, the answer lies in the inbox; what came on standard input is removed there once it is printed,
unless a delivery needs it.
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
        "--timeout", type=duration, metavar="DURATION",
        help="block no longer than this, such as 90 (seconds) or 15m; the exchange goes on",
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
    parser.add_argument(
        "--remove", action="store_true",
        help="with -t pipe: take the answer out of the inbox once it is printed whole",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Send, and wait if asked to; results go to stdout, everything else to stderr."""
    import asyncio

    from roundtrip.client import AsyncClient

    args.to = args.files.pop(0) if args.type == "email" else None
    if wrong := _wrong(args):
        complain(wrong)
        return ExitCode.USAGE
    client = AsyncClient(args.config)
    client.check_mail(args.to)
    if unsendable := list(_unsendable(args.files)):
        for text in unsendable:
            complain(text)
        if len(args.files) > 1:
            complain("nothing was sent")
        return ExitCode.INPUT
    if not client.agent_runs():
        complain("no agent of role a runs here; start: roundtrip agent --role a")
    return asyncio.run(_send(client, args))


def _wrong(args: argparse.Namespace) -> str | None:
    """What is wrong with the options as a whole."""
    from_stdin = args.files.count("-")
    wrong = {
        "-t email takes an address, and then files": not args.files,
        "standard input can be sent once only": from_stdin > 1,
        "standard input is closed; nothing was sent": from_stdin and not sys.stdin.readable(),
        "--name is for what comes on standard input (-)": args.name is not None and not from_stdin,
        f"--wait prints paths; with -t {args.type} leave it out": args.wait and args.type,
        "-t pipe prints the answer itself; leave --json out": args.json and args.type == "pipe",
        "--remove is for -t pipe": args.remove and args.type != "pipe",
        "--attempts: must be 1 or more": args.attempts < 1,
    }
    return next((text for text, is_wrong in wrong.items() if is_wrong), None)


def _unsendable(files: list[str]) -> Iterator[str]:
    """A line for each file that can't be sent: better than to have sent half of them."""
    from roundtrip.handing_in import opened

    for file in files:
        if file == "-":
            continue
        try:
            opened(Path(file)).close()
        except RoundtripError as error:
            yield str(error)


async def _send(client: AsyncClient, args: argparse.Namespace) -> int:
    from roundtrip.cli.handing_out import Manner
    from roundtrip.cli.pickup import pick_up

    if args.wait or args.type == "pipe":
        manner = Manner(args.type == "pipe", args.json, args.timeout)
        return await pick_up(client, _sent(client, args), manner)
    return await _name_all(_sent(client, args), as_json=args.json)


async def _name_all(items: AsyncIterator[Item | Unsent], *, as_json: bool) -> int:
    """Print the exchanges' names as they come; returns the exit status."""
    from roundtrip.cli.handing_out import Unsent, tell_unsent

    codes, told = [], Counter[str]()
    async for item in items:
        is_unsent = isinstance(item, Unsent)
        told["not sent" if is_unsent else "sent"] += 1
        codes.append(tell_unsent(item) if isinstance(item, Unsent) else _name(item, as_json))
    summarize(told)
    return max(codes)


def _name(item: Item, as_json: bool) -> ExitCode:
    """Print an exchange's name: to stderr if stdout does not take it, since it is sent already."""
    from roundtrip.watching.telling import named

    found = {**named("file", item.file), "exchange": item.exchange}
    try:
        with to_stdout():
            print(json.dumps(found) if as_json else item.exchange, flush=True)
    except (BrokenPipeError, ShareError) as error:
        is_gone = isinstance(error, BrokenPipeError)
        why = "the reader of standard output has left" if is_gone else str(error)
        complain(f"{item.file}: sent, but {why}; to pick its answer up: "
                 f"roundtrip poll {item.exchange}")  # fmt: skip
        return ExitCode.OK if is_gone else ExitCode.SHARE
    return ExitCode.OK


async def _sent(client: AsyncClient, args: argparse.Namespace) -> AsyncIterator[Item | Unsent]:
    """Send one file after the other; one that can't be does not keep the others from it."""
    from roundtrip.cli.handing_out import Item, Unsent

    for file in args.files:
        try:
            exchange = await _submit(client, file, args)
        except (OSError, RoundtripError) as error:
            yield Unsent(file, error)
            continue
        is_stdin = file == "-"
        yield Item(file, exchange, args.type == "pipe" or is_stdin, args.remove or is_stdin,
                   args.remove)  # fmt: skip


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
