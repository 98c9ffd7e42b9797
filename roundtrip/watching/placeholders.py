"""`{path}` and its like in a command's arguments: each value stays inside its argument."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence

from roundtrip import scripts
from roundtrip.errors import InputError

MEANINGS = {
    "path": "the file's absolute path",
    "name": "its name",
    "stem": "its name without the last extension",
    "ext": "that extension, with its dot; empty if there is none",
    "dir": "the absolute path of the folder that it is in",
    "rel": "its path relative to the watched folder",
    "event": "what told of it: close_write, moved_to, done, or found (a listing)",
    "size": "its size in bytes",
    "attempt": "1, and more when it is tried again",
}
"""Every placeholder; `{}` is short for `{path}`, and `{{name}}` stays `{name}`."""

_PLACEHOLDER = re.compile(r"\{\{([a-z_]*)\}\}|\{([a-z_]*)\}")


def check(command: Sequence[str]) -> None:
    """Refuse what can't be meant.

    Raises:
        InputError: an unknown placeholder, one for the program's name, or one in code.
    """
    for argument in command:
        for match in _PLACEHOLDER.finditer(argument):
            if match[2] and match[2] not in MEANINGS:
                near = difflib.get_close_matches(match[2], MEANINGS, 1)
                hint = f"did you mean {{{near[0]}}}?" if near else f"one of {_all()}"
                raise InputError(f"{match[0]} is no placeholder; {hint} ({{{match[0]}}} is text)")
    if _names(command[0]):
        raise InputError(f"{command[0]}: the program can't be a placeholder")
    try:
        scripts.refuse(command, _names)
    except ValueError as error:
        raise InputError(str(error)) from None


def fill(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The arguments for one file.

    Raises:
        InputError: a value would be taken for an option, since it begins with a dash.
    """
    filled: list[str] = []
    for argument in command:
        text = _PLACEHOLDER.sub(lambda match: _value(match, values), argument)
        begins = _PLACEHOLDER.match(argument)
        if begins and begins[2] is not None and text.startswith("-") and "--" not in filled:
            raise InputError(
                f"{argument} begins with a dash here, so it would be an option; "
                f"write -- before it, or ./{argument}"
            )
        filled.append(text)
    return filled


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    if match[1] is not None:
        return f"{{{match[1]}}}"
    return values[match[2] or "path"]


def values_of(top: str, rel: str, event: str, size: int, attempt: int) -> dict[str, str]:
    """The values for a file: `top` is absolute, `rel` relative to it."""
    path = os.path.join(top, rel)
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    return {
        "path": path,
        "name": name,
        "stem": stem,
        "ext": extension,
        "dir": folder,
        "rel": rel,
        "event": event,
        "size": str(size),
        "attempt": str(attempt),
    }


def _names(argument: str) -> bool:
    return any(match[2] is not None for match in _PLACEHOLDER.finditer(argument))


def _all() -> str:
    return ", ".join(f"{{{name}}}" for name in MEANINGS)
