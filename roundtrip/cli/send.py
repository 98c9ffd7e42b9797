"""`roundtrip send`: hand files to the agent of role a; with --wait, block until they are back."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.cli.send_view import View
    from roundtrip.client import AsyncClient, Result


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `send` command."""
    parser = subparsers.add_parser(
        "send",
        parents=[common],
        help="send files; with --wait, block until they are answered",
        description="Without --wait it prints each exchange's name and returns. With --wait it "
        "prints the path of each answer; if the file is - (standard input), the answer itself.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--wait", action="store_true", help="block until the answer is there")
    parser.add_argument("--pipeline", help="the pipeline to use; default: B chooses by name")
    parser.add_argument("--name", help="the original name of what comes on standard input")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="wait no longer than this")
    parser.add_argument(
        "--deadline", type=_deadline, metavar="DURATION",
        help="give the exchange up after this, such as 30s, 15m, 2h or 7d; it fails then",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object for each file")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Send, and wait if asked to; results go to stdout, everything else to stderr."""
    import asyncio

    from roundtrip.client import AsyncClient

    if args.files.count("-") > 1:
        print("roundtrip: standard input can be sent once only", file=sys.stderr)
        return ExitCode.USAGE
    client = AsyncClient(args.config)
    if not client.agent_runs():
        print("roundtrip: no agent of role a runs here; start: roundtrip agent --role a",
              file=sys.stderr)  # fmt: skip
    return asyncio.run(_send(client, args))


def _deadline(text: str) -> float:
    from roundtrip.config.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


async def _send(client: AsyncClient, args: argparse.Namespace) -> int:
    import asyncio

    sent = [(file, await _submit(client, file, args)) for file in args.files]
    if not args.wait:
        for file, exchange in sent:
            print(json.dumps({"file": file, "exchange": exchange}) if args.json else exchange)
        return ExitCode.OK
    from roundtrip.cli.send_view import View

    try:
        with View() as view:
            codes = await asyncio.gather(
                *(_await(client, file, exchange, args, view) for file, exchange in sent)
            )
    except asyncio.CancelledError:
        for _, exchange in sent:
            print(f"roundtrip: {exchange} is still under way; its answer will be in the inbox",
                  file=sys.stderr)  # fmt: skip
        raise
    return max(codes)


async def _submit(client: AsyncClient, file: str, args: argparse.Namespace) -> str:
    if file != "-":
        return await client.submit(file, pipeline=args.pipeline, deadline=args.deadline)
    name = Path(args.name or "stdin").name
    return await client.submit_stream(
        sys.stdin.buffer, name, pipeline=args.pipeline, deadline=args.deadline
    )


async def _await(
    client: AsyncClient, file: str, exchange: str, args: argparse.Namespace, view: View
) -> int:
    from roundtrip.errors import StillWaiting
    from roundtrip.protocol.markers import Outcome

    show = view.add(file)
    try:
        result = await client.wait(
            exchange, timeout=args.timeout, on_state=show, on_progress=view.progress(file)
        )
    except StillWaiting as error:
        view.finish(file, "still under way")
        print(f"roundtrip: {error}", file=sys.stderr)
        return ExitCode.WAITING
    view.finish(file, result.outcome.value)
    if result.outcome is Outcome.FAILED:
        _tell_failure(file, result)
    if args.json:
        _print_json(file, result)
    elif result.outcome is not Outcome.FAILED:
        _print_result(file, result)
    client.forget(exchange)
    return ExitCode.FAILED if result.outcome is Outcome.FAILED else ExitCode.OK


def _print_result(file: str, result: Result) -> None:
    if file != "-":
        print(result.path, flush=True)
        return
    with result.path.open("rb") as answer:
        shutil.copyfileobj(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    result.path.unlink()  # Its only reader has it all.


def _tell_failure(file: str, result: Result) -> None:
    from roundtrip.cli.words import printable

    problem = result.problem()  # B's words
    print(printable(f"roundtrip: {file}: {problem.title}: {problem.detail} (see {result.path})"),
          file=sys.stderr)  # fmt: skip


def _print_json(file: str, result: Result) -> None:
    found = {
        "file": file,
        "exchange": result.exchange,
        "outcome": result.outcome.value,
        "path": str(result.path),
    }
    print(json.dumps(found), flush=True)
