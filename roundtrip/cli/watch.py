"""`roundtrip watch`: run a command, once, for each file that comes into a folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roundtrip.cli import streams
from roundtrip.cli.values import duration
from roundtrip.errors import ExitCode, InputError


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `watch` command, which needs no configuration."""
    parser = subparsers.add_parser(
        "watch",
        help="run a command once for each file that comes into a folder, or tell of them; "
        "needs no configuration and no agent",
        usage="roundtrip watch DIR [options] [--exec PROGRAM [ARGUMENT...]]",
        description="Without --exec, the path of each complete file is printed. In the arguments "
        "of --exec, {path}, {name}, {stem}, {ext}, {dir}, {rel}, {event}, {size} and {attempt} "
        "stand for the file's; no shell is involved.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to watch")
    _add_which(parser)
    _add_how(parser)
    _add_output(parser)
    parser.add_argument(
        "--exec",
        dest="command_line",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM",
        help="the program to run and its arguments: everything that follows (-- does the same)",
    )
    parser.set_defaults(func=run, parser=parser)
    _end_options_with_command(parser)


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on",
        choices=("close_write", "moved_to", "done"),
        default="close_write",
        help="what makes a file complete: it was closed or renamed into place and nobody writes to "
        "it; it was renamed into place; its marker NAME.done is there and fits",
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="sub-folders, too")
    parser.add_argument(
        "--match", action="append", default=[], metavar="GLOB", help="only such names; repeatable"
    )
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="GLOB", help="no such names; repeatable"
    )
    parser.add_argument(
        "--settle", type=duration, default=0.0, metavar="DURATION",
        help="a file must have been left alone for this long as well, such as 500ms or 5s",
    )  # fmt: skip
    parser.add_argument("--new-only", action="store_true", help="not what is there at the start")
    parser.add_argument(
        "--once", action="store_true", help="handle what is there and end, as from cron"
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "inotify", "fanotify", "poll"),
        default="auto",
        help="what tells of changes: kernel events where they come, else a look now and then",
    )
    parser.add_argument(
        "--interval", type=duration, default=1.0, metavar="DURATION",
        help="between two looks where it has to poll (1s)",
    )  # fmt: skip


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-j", "--concurrency", type=_count, default=1, metavar="N", help="runs at once (1)"
    )
    parser.add_argument(
        "--retries", type=int, default=0, metavar="N", help="times a failed run is tried again (0)"
    )
    parser.add_argument(
        "--retry-delay", type=duration, default=1.0, metavar="DURATION",
        help="before the first retry; doubled before each other, at most 10m (1s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=duration, metavar="DURATION",
        help="end a run that takes longer, with all that it started; that is a failure",
    )  # fmt: skip
    parser.add_argument(
        "--dead-letter", type=Path, metavar="FOLDER",
        help="where a file goes that failed for good, with NAME.problem.json beside it",
    )  # fmt: skip
    parser.add_argument(
        "--interrupted",
        choices=("dead", "retry"),
        default="dead",
        help="what to do with a run whose end nobody saw, as after a power cut: count it as "
        "failed (at most once), or run it again (at least once)",
    )
    parser.add_argument(
        "--in-place", action="store_true",
        help="the command changes the file itself: what it leaves is no new file",
    )  # fmt: skip
    parser.add_argument(
        "--state", type=Path, metavar="FOLDER",
        help="where to remember what was done (with --exec: a folder of DIR's own below "
        "$XDG_STATE_HOME/roundtrip/watch; without: nothing is remembered)",
    )  # fmt: skip
    parser.add_argument(
        "--retry-failed", action="store_true", help="try again what failed for good"
    )
    parser.add_argument(
        "--list-failed", action="store_true", help="list what failed for good, and end"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON object for each file or run"
    )
    form.add_argument(
        "-0", "--null", action="store_true", help="end each path with a zero byte, not a newline"
    )


def run(args: argparse.Namespace) -> int:
    """Watch until told to end; results go to stdout, everything else to stderr."""
    from roundtrip.watching.session import watch

    form = "json" if args.json else "nul" if args.null else "lines"
    if args.list_failed:
        if not sys.stdout.writable():
            args.parser.error("standard output is closed; nobody would see what failed")
        with streams.to_stdout():
            return _list_failed(args, form)
    if args.command_line is not None and not args.command_line:
        args.parser.error("--exec needs a program")
    if args.once and args.new_only:
        args.parser.error("--once and --new-only together would do nothing")
    if args.retries < 0:
        args.parser.error("--retries: must not be negative")
    try:
        return watch(_plan(args), form, args.state, retry_failed=args.retry_failed)
    except InputError as error:
        args.parser.error(str(error))
        return ExitCode.USAGE


def _plan(args: argparse.Namespace) -> Any:
    from roundtrip.watching.plan import Plan

    return Plan(
        folder=args.folder,
        on=args.on,
        command=tuple(args.command_line) if args.command_line else None,
        backend=args.backend,
        interval=args.interval,
        deep=args.recursive,
        match=tuple(args.match),
        ignore=tuple(args.ignore),
        settle=args.settle,
        once=args.once,
        new_only=args.new_only,
        concurrency=args.concurrency,
        retries=args.retries,
        pause=args.retry_delay,
        timeout=args.timeout,
        dead=args.dead_letter,
        interrupted=args.interrupted,
        in_place=args.in_place,
        quiet_stdout=args.json,
    )


def _list_failed(args: argparse.Namespace, form: str) -> int:
    from roundtrip.watching.journal import failed_in
    from roundtrip.watching.session import real_top
    from roundtrip.watching.state import default
    from roundtrip.watching.telling import Teller, named

    state = args.state or default(real_top(args.folder))
    top = str(args.folder.absolute())
    teller = Teller(form, top, str(args.folder))
    for entry in failed_in(state):
        if form != "json":
            teller.file(entry.path)
            continue
        found = {
            **named("path", f"{top}/{entry.path}"),
            "reason": entry.reason,
            "attempts": entry.attempts,
            "dead_letter": entry.dead,
        }
        print(json.dumps({key: value for key, value in found.items() if value is not None}))
    sys.stdout.flush()
    return ExitCode.OK


def _end_options_with_command(parser: argparse.ArgumentParser) -> None:
    """Leave what follows `--exec` or `--` as it is: argparse would look for options in it."""
    parse: Callable[..., Any] = parser.parse_known_args

    def parse_known_args(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        end = next((at for at, word in enumerate(words) if word in ("--", "--exec")), len(words))
        found, rest = parse(words[:end], namespace)
        if end < len(words):
            found.command_line = words[end + 1 :]
        return found, rest

    parser.parse_known_args = parse_known_args  # type: ignore[method-assign, assignment]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("must be a number from 1 to 1000")
    return int(text)
