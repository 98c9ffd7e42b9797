"""Hands an answer out that is there: to standard output, and why there is none to stderr."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from roundtrip.cli.streams import to_stdout
from roundtrip.cli.words import complain
from roundtrip.errors import ExitCode, RoundtripError
from roundtrip.protocol.markers import Outcome
from roundtrip.roles.problems import DEADLINE
from roundtrip.watching.telling import named

if TYPE_CHECKING:
    from roundtrip.client import AsyncClient
    from roundtrip.waiting import Result


@dataclass(frozen=True, slots=True)
class Item:
    """One file that is waited for: `file` is what the user calls it.

    With `prints` its answer goes to standard output, its path otherwise; with `removes`, what was
    printed whole is taken out of the inbox, because the user `asked` for it or because nobody else
    has a use for it.
    """

    file: str
    exchange: str
    prints: bool = False
    removes: bool = False
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Unsent:
    """One file that could not be sent."""

    file: str
    error: OSError | RoundtripError


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are handed out: `in_order` of the files, or as they come.

    `timeout` and `look` are in seconds; with `forget`, nobody can ask a second time. Somebody who
    `is_late` may find that an answer has gone since it was delivered.
    """

    in_order: bool = False
    as_json: bool = False
    timeout: float | None = None
    look: float | None = None
    forget: bool = True
    is_late: bool = False


def tell_unsent(item: Unsent) -> ExitCode:
    """Say why, and what that is as an exit status."""
    if isinstance(item.error, OSError):
        complain(f"{item.file}: not sent: {item.error.strerror or item.error}")
        return ExitCode.SHARE
    complain(f"{item.file}: not sent: {str(item.error).removeprefix(f'{item.file}: ')}")
    return item.error.exit_code


def hand_out(client: AsyncClient, item: Item, result: Result, manner: Manner) -> ExitCode:
    """Print the answer, its path, or its record, as is wanted.

    Raises:
        BrokenPipeError: the reader of standard output has left.
        ShareError: standard output takes no more.
    """
    code, why = _judged(item, result, is_late=manner.is_late)
    if why:
        complain(f"{item.file}: {why}")
    with to_stdout():
        if manner.as_json:
            _print_json(item.file, result, is_taken=code is ExitCode.TAKEN)
        elif code is ExitCode.OK and item.prints:
            _print_content(result)
            if item.removes:
                _remove(client, item, result)
        elif code is ExitCode.OK:
            print(result.path, flush=True)
    if manner.forget:
        client.forget(item.exchange)
    return code


def _judged(item: Item, result: Result, *, is_late: bool) -> tuple[ExitCode, str]:
    """What an answer means for the exit status, and what to say about it."""
    if result.outcome is not Outcome.FAILED:
        is_taken = (item.prints or is_late) and not result.is_there()
        return (ExitCode.TAKEN, _whereabouts(result)) if is_taken else (ExitCode.OK, "")
    if not result.is_there():
        return ExitCode.FAILED, f"failed; the document about it {_whereabouts(result)}"
    problem = result.problem()
    code = ExitCode.EXPIRED if problem.kind == DEADLINE else ExitCode.FAILED
    # The words are B's.
    return code, f"{problem.title}: {problem.detail} (see {result.path})"


def _whereabouts(result: Result) -> str:
    """What has become of a delivered file that is not there any more."""
    at = ""
    if result.delivered is not None:
        at = f" at {datetime.fromtimestamp(result.delivered):%Y-%m-%d %H:%M:%S}"
    gone = "changed or replaced there since" if result.path.exists() else "taken from there"
    return f"was delivered to {result.path}{at} and has been {gone}"


def _remove(client: AsyncClient, item: Item, result: Result) -> None:
    """Take an answer out of the inbox whose reader has it all, unless a delivery needs it there."""
    if client.is_needed(result):
        if item.asked:
            complain(f"{item.file}: a delivery still needs the answer; it stays in {result.path}")
    elif item.asked or not client.is_told_of(result):
        result.path.unlink(missing_ok=True)


def _print_content(result: Result) -> None:
    with result.path.open("rb") as answer:
        shutil.copyfileobj(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _print_json(file: str, result: Result, *, is_taken: bool) -> None:
    found: dict[str, object] = {
        **named("file", file),
        "exchange": result.exchange,
        "outcome": result.outcome.value,
        **named("path", str(result.path)),
    }
    if is_taken:
        found["taken"] = True
    print(json.dumps(found), flush=True)
