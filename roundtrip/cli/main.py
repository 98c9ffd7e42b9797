"""The `roundtrip` command: finds the sub-command and makes of errors a line and an exit code."""

from __future__ import annotations

import argparse
import os
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
    torture,
    watch,
    worker,
)
from roundtrip.errors import ExitCode, RoundtripError


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (`ExitCode`)."""
    args = build_parser().parse_args(arguments)
    try:
        return int(args.func(args))
    except RoundtripError as error:
        print(f"roundtrip: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`| head`); Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        return _tell(error)


def _tell(error: Exception) -> ExitCode:
    """One line about an error that no part of roundtrip expected."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        print(f"roundtrip: {where}{error.strerror or error}", file=sys.stderr)
        return ExitCode.SHARE
    print(
        f"roundtrip: a defect in roundtrip itself: {error!r}; nothing is lost, please report it",
        file=sys.stderr,
    )
    return ExitCode.INTERNAL
