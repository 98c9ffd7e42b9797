"""`roundtrip preview`: what would leave this host for a file's first records; nothing is sent."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, InputError, PipelineError

if TYPE_CHECKING:
    from roundtrip.cli.preview_calls import Preview
    from roundtrip.config import Settings


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `preview` command."""
    parser = subparsers.add_parser(
        "preview",
        parents=[common],
        help="show the requests that role b would send for a file, without sending them",
        description="No secret is looked up: ${NAME} stands where it would be.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a request payload")
    parser.add_argument("--pipeline", help="the pipeline to use; default: the first that fits")
    parser.add_argument(
        "--records", type=_count, default=10, metavar="N", help="how many records (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Look at the first records and print what would be sent for them."""
    from roundtrip.config import load

    # the requests are role b's, whatever this host is
    found = _looked(load(args.config, "b", secrets="named"), args)
    if args.json:
        from roundtrip.cli.preview_view import as_dict

        print(json.dumps(as_dict(found), indent=2, ensure_ascii=False))
    else:
        from roundtrip.cli.preview_view import lines

        for line in lines(found):
            print(line)
    return ExitCode.OK


def _looked(settings: Settings, args: argparse.Namespace) -> Preview:
    from roundtrip.cli.preview_calls import preview
    from roundtrip.config.named import written
    from roundtrip.enrich import Enricher

    try:
        pipeline = Enricher(settings.pipelines).choose(args.file.name, args.pipeline)
        with args.file.open("rb") as source:
            return preview(args.file, source, pipeline, settings.hosts, args.records)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(f"{args.file}: can't be read: {reason}") from None
    except PipelineError as error:
        raise InputError(f"{args.file}: {written(str(error))}") from None


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
