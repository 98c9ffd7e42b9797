"""Finds the sub-command and makes of errors a line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from roundtrip import __version__
from roundtrip.cli import (
    agent,
    cache,
    cancel,
    config,
    deliveries,
    demo,
    doctor,
    explain,
    init,
    poll,
    preview,
    quarantine,
    send,
    status,
    streams,
    torture,
    watch,
    worker,
)
from roundtrip.cli.arguments import Command
from roundtrip.cli.words import printable
from roundtrip.errors import ConfigError, ExitCode, RoundtripError

_SILENT = ("agent", "worker", "watch")
"""Commands that need no standard output, or see to it themselves."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; nothing heavy is imported for it."""
    parser: argparse.ArgumentParser = Command(
        prog="roundtrip",
        description="Hand files to another host by shared folders, and get them back enriched.",
    )
    parser.add_argument("--version", action="version", version=f"roundtrip {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration (default: $ROUNDTRIP_CONFIG, ./roundtrip.yaml, "
        "/etc/roundtrip/roundtrip.yaml)",
    )
    common.add_argument("--role", choices=("a", "b"), help="this host's role; overrides the file's")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (
        init,
        agent,
        worker,
        send,
        poll,
        cancel,
        status,
        doctor,
        explain,
        quarantine,
        deliveries,
        preview,
        cache,
        config,
        demo,
        torture,
        watch,
    ):
        command.add_parser(subparsers, common)
    return parser


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (`ExitCode`)."""
    streams.mend()
    try:
        code = _run(_parsed(sys.argv[1:] if arguments is None else arguments))
        streams.finish()
    except BrokenPipeError:
        code = ExitCode.OK  # The reader of our output has had enough (`| head`).
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:
        code = _tell(error)
    finally:
        streams.give_up()
    return code


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    try:
        return build_parser().parse_args(arguments)
    except SystemExit:  # Help was asked for, or is needed.
        streams.finish()
        raise


def _run(args: argparse.Namespace) -> int:
    if args.command not in _SILENT and not sys.stdout.writable():
        print("roundtrip: standard output is closed; nothing was done (to have none, redirect it "
              "to /dev/null)", file=sys.stderr)  # fmt: skip
        return ExitCode.USAGE
    return int(args.func(args))


def _tell(error: Exception) -> ExitCode:
    """One line about an error; a configuration's errors are a line each."""
    if isinstance(error, RoundtripError):
        lines = error.problems if isinstance(error, ConfigError) else [str(error)]
        print("roundtrip: " + "\n".join(map(printable, lines)), file=sys.stderr)
        return error.exit_code
    if _is_interrupt(error):
        return ExitCode.INTERRUPTED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        print(f"roundtrip: {printable(where)}{error.strerror or error}", file=sys.stderr)
        return ExitCode.SHARE
    print(
        f"roundtrip: a defect in roundtrip itself: {error!r}; nothing is lost, please report it",
        file=sys.stderr,
    )
    return ExitCode.INTERNAL


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: where a class was being made, Python raises RuntimeError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False
