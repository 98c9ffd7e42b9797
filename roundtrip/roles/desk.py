"""The requester's own folders, and how names in them are chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import PurePath

from roundtrip.protocol.names import ulid_of
from roundtrip.shares.port import Folder

PROBLEM_SUFFIX = ".problem.json"
"""Ends the name of the problem document beside a failed original."""
_EXTENSION_MAX = 20  # bytes; what is longer is no extension but a part of the name
PROBLEM_COPY = "~problem"
"""Ends the name of a private copy that is a problem document; no name of ours has a tilde."""
NAME_MAX = 255  # bytes, Linux's limit for one name (path_resolution(7))


@dataclass(frozen=True, slots=True)
class Desk:
    """A's folders, all on one file system, so that a rename moves files between them whole."""

    submit: Folder
    """Files handed over by `send` and `Client`, already named as exchanges."""
    pending: Folder
    """Originals whose answer is wanted."""
    collected: Folder
    """Private copies of answers, and problem documents, on their way to where they belong."""
    closing: Folder
    """Originals whose answer is safe, while the request is being dropped."""
    tickets: Folder
    outcomes: Folder
    """One record for each exchange that somebody waits for."""
    inbox: Folder
    failed: Folder
    archive: Folder | None


def free_names(original: str, exchange: str, suffix: str = "") -> Iterator[str]:
    """Names for a file called `original`: its own, then ones with the ULID before the extension.

    Each is followed by `suffix`, and is shortened where it would be longer than a name may be.
    """
    if _bytes(original + suffix) <= NAME_MAX:
        yield original + suffix
    path = PurePath(original)
    stem, extension = path.stem, path.suffix
    if _bytes(extension) > _EXTENSION_MAX:
        stem, extension = original, ""
    label = ulid_of(exchange) or exchange
    for number in count(1):
        tail = f".{label}{f'-{number}' if number > 1 else ''}{extension}{suffix}"
        yield _shortened(stem, NAME_MAX - _bytes(tail)) + tail


def _shortened(stem: str, limit: int) -> str:
    while stem and _bytes(stem) > limit:
        stem = stem[:-1]
    return stem


def _bytes(name: str) -> int:
    return len(os.fsencode(name))


async def moved(source: Folder, name: str, target: Folder, new_name: str) -> bool:
    """Rename into `target`, durably; False if `new_name` is taken there."""
    try:
        await source.move(name, target, new_name, durable=True)
    except FileExistsError:
        return False
    return True
