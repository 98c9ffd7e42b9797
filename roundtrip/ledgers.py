"""The ledgers of this host: its agent's, and one in the place of each of its workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.places import Places

PURGE = "cache purge"
"""What a command that writes to a ledger itself says of itself in the lock."""
_FILE, _LOCK, _WISHES = "ledger.sqlite", "lock", "cache-purge"


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger's `file`, and who writes to it: whoever holds `lock`, and heeds `wishes` then."""

    owner: str
    file: Path
    lock: Path
    wishes: Path


def ledger_at(place: Path) -> Ledger:
    """The ledger of the worker that has this place."""
    return Ledger(f"worker {place.name}", place / _FILE, place / _LOCK, place / _WISHES)


def ledgers(places: Places) -> Iterator[Ledger]:
    """The agent's, there or not, and those of workers that are or were here.

    Raises:
        ShareError: the folder of workers can't be listed.
    """
    yield Ledger("the agent", places.ledger, places.lock, places.wishes)
    try:
        names = os.listdir(places.workers)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ShareError(f"{places.workers}: can't be listed: {error.strerror}") from None
    for name in sorted((name for name in names if name.isdecimal()), key=int):
        found = ledger_at(places.workers / name)
        if found.file.exists():
            yield found
