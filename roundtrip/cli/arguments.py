"""A parser of arguments whose options may stand between the names, as everywhere on Unix."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

_LISTS = ("+", "*")
_HIDDEN = "\0"
"""Begins what stands for an argument behind `--`: no argument of a program can hold it."""


class Command(argparse.ArgumentParser):
    """The parser of `roundtrip`, and by inheritance of each of its commands.

    argparse takes names in one piece only: of `send a --wait b` it would refuse `b`. Its intermixed
    parsing can't do with sub-commands or with the rest of a line (nargs REMAINDER), so it is used
    where names are listed and nowhere else. What nobody knows is refused with the usage of the
    command that it was given to, not of `roundtrip`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lists = self._fixed = self._mixing = False
        super().__init__(*args, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """See `argparse.ArgumentParser.add_argument`."""
        nargs = options.get("nargs")
        if not names[0].startswith("-"):
            self._lists = self._lists or nargs in _LISTS
            self._fixed = self._fixed or nargs == argparse.REMAINDER or "type" in options
        return super().add_argument(*names, **options)

    def add_subparsers(self, **options: Any) -> Any:
        """See `argparse.ArgumentParser.add_subparsers`."""
        self._fixed = True
        return super().add_subparsers(**options)

    # argparse hands a command's arguments to this method of its parser.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See `argparse.ArgumentParser.parse_known_args`; nothing is left over in the end."""
        if self._mixing or args is None:
            return super().parse_known_args(args, namespace)
        if self._fixed or not self._lists:
            found, extras = super().parse_known_args(args, namespace)
        else:
            found, extras = self._mixed(args, namespace)
        if extras:
            self._refuse(extras)
        return found, extras

    def _mixed(self, args: Sequence[str], namespace: Any) -> tuple[Any, list[str]]:
        before, after = _divided(list(args))
        hidden = [f"{_HIDDEN}{number}" for number in range(len(after))]
        self._mixing = True
        try:
            found, extras = self.parse_known_intermixed_args([*before, *hidden], namespace)
        finally:
            self._mixing = False
        for key, value in vars(found).items():
            if isinstance(value, list):
                setattr(found, key, [_shown(each, after) for each in value])
        return found, extras

    def _refuse(self, extras: Sequence[str]) -> NoReturn:
        self.error(f"unrecognized arguments: {' '.join(extras)}")


def _divided(args: list[str]) -> tuple[list[str], list[str]]:
    """What is before the first `--`, and the names behind it, which intermixed parsing forgets."""
    if "--" not in args:
        return args, []
    at = args.index("--")
    return args[:at], args[at + 1 :]


def _shown(value: Any, after: Sequence[str]) -> Any:
    if isinstance(value, str) and value.startswith(_HIDDEN):
        return after[int(value[1:])]
    return value
