"""Wishes: how `cache purge` asks the running agent to remove cached answers.

    state/cache-purge/<ULID>.json   the wish, renamed into place by the command
    state/cache-purge/<ULID>.done   how many answers went, by the agent; the command removes it

A worker's are in `state/workers/N/cache-purge/`. Only the agent, or the worker, may write to its
ledger's file while it runs: see `schema.open_for_writing`.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from roundtrip.protocol.names import Namer, part_of, ulid_of

FOLDER = "cache-purge"  # its name in the state folder
_WISH, _DONE = ".json", ".done"
_UNCLAIMED = 3600.0  # seconds after which nobody comes for an answer any more


@dataclass(frozen=True, slots=True)
class Wish:
    """Which cached answers should go; what is None doesn't matter.

    `step` is `pipeline/step`; `before` is a Unix time: those made before it.
    """

    step: str | None = None
    before: float | None = None


def make(folder: Path, wish: Wish) -> Path:
    """Write a wish, whole or not at all; returns its file."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{ulid_of(Namer()('wish'))}{_WISH}"
    _put(path, asdict(wish))
    return path


def result(path: Path) -> int | None:
    """How many answers went for the wish made as `path`; None as long as it isn't done.

    Raises OSError when it can't be fulfilled.
    """
    try:
        found = json.loads(path.with_suffix(_DONE).read_bytes())
    except FileNotFoundError:
        return None
    if "error" in found:
        raise OSError(found["error"])
    return int(found["removed"])


def withdraw(path: Path) -> None:
    """Remove a wish and its result."""
    for each in (path, path.with_suffix(_DONE)):
        each.unlink(missing_ok=True)


def pending(folder: Path) -> list[Path]:
    """The wishes that wait, the oldest first; results that nobody came for are removed."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    for name in names:
        if not name.endswith(_WISH):
            with suppress(FileNotFoundError):
                _remove_old(folder / name)
    return [folder / name for name in names if name.endswith(_WISH)]


def read(path: Path) -> Wish:
    """The wish in the file. Raises ValueError for anything else, FileNotFoundError if withdrawn."""
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError("not a wish")
    step, before = found.get("step"), found.get("before")
    if not isinstance(step, str | None) or not isinstance(before, int | float | None):
        raise ValueError("not a wish")
    return Wish(step, before)


def fulfilled(path: Path, removed: int) -> None:
    """Tell how many answers went."""
    _put(path.with_suffix(_DONE), {"removed": removed})
    path.unlink(missing_ok=True)


def refused(path: Path, reason: str) -> None:
    """Tell why nothing can be done."""
    _put(path.with_suffix(_DONE), {"error": reason})
    path.unlink(missing_ok=True)


def _put(path: Path, content: dict[str, object]) -> None:
    part = path.with_name(part_of(path.name))
    part.write_text(json.dumps(content))
    part.rename(path)


def _remove_old(path: Path) -> None:
    if path.stat().st_mtime < time.time() - _UNCLAIMED:
        path.unlink()
