"""`roundtrip config check`, `roundtrip config schema` and `roundtrip config test`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roundtrip.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from roundtrip.config import Settings


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `config` command; `common` brings --config and --role to those that read a file."""
    config = subparsers.add_parser("config", help="check the configuration, or describe it")
    actions = config.add_subparsers(dest="action", required=True, metavar="check|schema|test")
    check_parser = actions.add_parser(
        "check", parents=[common], help="load the configuration and print everything wrong with it"
    )
    check_parser.add_argument("--json", action="store_true", help="print the result as JSON")
    check_parser.set_defaults(func=check)
    schema_parser = actions.add_parser("schema", help="print the file's JSON Schema, for editors")
    schema_parser.set_defaults(func=print_schema)
    test_parser = actions.add_parser(
        "test",
        parents=[common],
        help="run the pipelines' unit tests, without network and secrets",
    )
    test_parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="files of tests (default: *.test.yaml beside the configuration)",
    )
    test_parser.add_argument("--json", action="store_true", help="print the results as JSON")
    test_parser.set_defaults(func=test)


def check(args: argparse.Namespace) -> int:
    """Print that the configuration is fine, or each error, and return the exit code."""
    from roundtrip.config import load

    try:
        settings = load(args.config, args.role)
    except ConfigError as error:
        if args.json:
            print(json.dumps({"ok": False, "problems": error.problems}, indent=2))
        else:
            print(error, file=sys.stderr)
        return ExitCode.CONFIG
    print(json.dumps(_report(settings), indent=2) if args.json else _summary(settings))
    return ExitCode.OK


def print_schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of the configuration file."""
    from roundtrip.config import schema

    print(json.dumps(schema(), indent=2))
    return ExitCode.OK


def test(args: argparse.Namespace) -> int:
    """Run tests and print a line for each, with what is wrong below; return the exit code."""
    import asyncio

    from roundtrip.config import load
    from roundtrip.config.cases import loading
    from roundtrip.config.cases.running import run

    settings = load(args.config, "b", secrets="named")
    files = loading.load(args.files or loading.find(settings.file))
    results: list[dict[str, Any]] = []
    for file, tests in files:
        for case in tests:
            wrong = asyncio.run(run(case, settings))
            found = {"file": str(file), "name": case.name, "ok": not wrong, "problems": wrong}
            results.append(found)
            if not args.json:
                print("\n".join(_told(found)), flush=True)
    failed = sum(not found["ok"] for found in results)
    if args.json:
        print(json.dumps({"ok": not failed, "tests": results}, indent=2, ensure_ascii=False))
    else:
        count = "1 test" if len(results) == 1 else f"{len(results)} tests"
        print(f"{count}, {failed} failed" if failed else f"{count}, ok")
    return ExitCode.TEST if failed else ExitCode.OK


def _told(found: dict[str, Any]) -> Iterator[str]:
    outcome = "ok" if found["ok"] else "FAILED"
    yield f"{Path(found['file']).name}: {outcome}: {found['name']}"
    yield from (f"    {line}" for line in found["problems"])


def _report(settings: Settings) -> dict[str, Any]:
    return {
        "ok": True,
        "file": str(settings.file),
        "role": settings.role,
        "root": str(settings.root),
        "pipelines": [pipeline.name for pipeline in settings.pipelines],
        "problems": [],
    }


def _summary(settings: Settings) -> str:
    names = [pipeline.name for pipeline in settings.pipelines]
    count = "1 pipeline" if len(names) == 1 else f"{len(names)} pipelines"
    listed = f" ({', '.join(names)})" if names else ""
    return f"{settings.file}: ok: role {settings.role}, {count}{listed}, root {settings.root}"
