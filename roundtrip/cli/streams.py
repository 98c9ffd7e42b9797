"""The standard streams, also where whoever started us has closed some of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from roundtrip.errors import ShareError

_refused: list[OSError] = []
"""Why stdout takes no more, once that is known."""


def mend() -> None:
    """Put something in place of closed streams: Python has None there.

    Their numbers are taken, so that no file that is opened later gets them. What can't be read or
    written says so: `sys.stdin.readable()` and `sys.stdout.writable()` are False. Messages that
    nobody wants go nowhere.
    """
    _refused.clear()
    if sys.stdin is None:
        sys.stdin = open(_null(0, os.O_WRONLY), "w", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(_null(1, os.O_RDONLY), closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_null(2, os.O_WRONLY), "w", closefd=False)  # noqa: SIM115
    if sys.stdout.writable() and sys.stdout.errors == "strict":
        # A file's name that is no text is written as the bytes that it is.
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]


def _null(number: int, flags: int) -> int:
    found = os.open(os.devnull, flags)
    if found != number:
        os.dup2(found, number)
        os.close(found)
    os.set_inheritable(number, True)
    return number


def finish() -> None:
    """Write what is still to be written to stdout, unless it is known that it takes no more.

    Raises:
        BrokenPipeError: its reader has left.
        ShareError: it takes no more.
    """
    if sys.stdout.writable() and not _refused:
        with to_stdout():
            sys.stdout.flush()


@contextmanager
def to_stdout() -> Iterator[None]:
    """Say where it was that something could not be written; raises as `finish`.

    What is left in Python's buffer is dropped, or the next one would fail with it, and the end too.
    """
    try:
        if _refused:
            raise _refused[0]
        yield
    except OSError as error:
        if error.filename is not None:  # Of the file that is written there.
            raise
        if not _refused:
            _refused.append(error)
            give_up()
        if isinstance(error, BrokenPipeError):
            raise
        raise ShareError(f"standard output: {error.strerror or error}") from error


def give_up() -> None:
    """Python must not try, and complain, once more at its end."""
    if not sys.stdout.writable():
        return
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
