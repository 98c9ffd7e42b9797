"""The dead-letter folder: files whose command failed for good, each with a problem document."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from roundtrip.errors import ShareError
from roundtrip.protocol.documents import printable
from roundtrip.protocol.names import PART_SUFFIX
from roundtrip.protocol.problem import Problem
from roundtrip.shares import writing
from roundtrip.watching.claim import Outcome
from roundtrip.watching.finding import look
from roundtrip.watching.journal import Entry

SUFFIX = ".problem.json"
_NAME_MAX = 255  # bytes (path_resolution(7))


def check(dead: Path, top: Path) -> None:
    """Make the folder if it isn't there.

    Raises:
        ShareError: files can't be renamed from `top` into it.
    """
    try:
        dead.mkdir(parents=True, exist_ok=True)
        same = os.stat(dead).st_dev == os.stat(top).st_dev
    except OSError as error:
        raise ShareError(f"{dead}: no dead-letter folder: {error.strerror}") from None
    if not same:
        raise ShareError(
            f"{dead}: the dead-letter folder is on another file system than {top}, so files can't "
            "be moved there whole; choose one on the same"
        )


def bury(
    dead: Path, top: str, entry: Entry, outcome: Outcome | None, *, numbered: bool
) -> str | None:
    """Move a file there, with its problem document; returns where it is then.

    None if the file isn't there any more, or is another one. Done again after it was interrupted,
    it goes on where it was.

    Raises:
        OSError: it could not be moved; nothing is lost.
    """
    path = os.path.join(top, entry.path)
    found = look(path, numbered=numbered)
    if found is None or found.identity != entry.identity:
        return None
    document = problem(top, entry, outcome)
    source = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    target = os.open(dead, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in _names(os.path.basename(path), entry.run):
            if _put(target, name, document, entry.run) and _move(source, path, target, name):
                return str(dead / name)
        raise AssertionError("names never end")
    finally:
        os.close(source)
        os.close(target)


def problem(top: str, entry: Entry, outcome: Outcome | None) -> bytes:
    """The problem document (RFC 9457) of a file whose command failed."""
    members: dict[str, object] = {
        "path": os.path.join(top, entry.path),
        "run": entry.run,
        "attempts": entry.attempts,
    }
    if outcome is not None:
        members |= {"exit": outcome.code, "seconds": outcome.seconds, "stderr": outcome.stderr}
    kind, title = ("failed", "The command failed")
    if outcome is None:
        kind, title = ("interrupted", "What became of the command is not known")
    found = Problem(f"watch-{kind}", title, entry.reason or "", printable(entry.path))
    return found.extended(_unicode(members))


def _unicode(members: dict[str, object]) -> dict[str, object]:
    """Names of any bytes are no JSON; what isn't Unicode in them is replaced."""
    return {
        key: value.encode(errors="replace").decode() if isinstance(value, str) else value
        for key, value in members.items()
    }


def _put(folder: int, name: str, document: bytes, run: int) -> bool:
    """Write the document; False if the name is taken by another file's."""
    document_name = name + SUFFIX
    if _is_there(folder, name):
        return False
    try:
        part = f".{run}{PART_SUFFIX}"  # One that a killed watch has left is used again.
        writing.put_bytes(folder, part, document_name, document, durable=True)
    except FileExistsError:
        return _is_of(folder, document_name, run)
    return True


def _move(source: int, path: str, target: int, name: str) -> bool:
    base = os.path.basename(path)
    before = os.stat(base, dir_fd=source, follow_symlinks=False)
    try:
        writing.rename(source, base, target, name, before)
    except FileExistsError:
        return False
    os.fsync(target)
    os.fsync(source)
    return True


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_of(folder: int, name: str, run: int) -> bool:
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(opened, "rb") as file:
        try:
            found = json.load(file)
        except ValueError:
            return False
    return isinstance(found, dict) and found.get("run") == run


def _names(name: str, run: int) -> Iterator[str]:
    """The file's own name, then with the run's number before the extension."""
    if len(os.fsencode(name + SUFFIX)) <= _NAME_MAX:
        yield name
    stem, extension = PurePath(name).stem, PurePath(name).suffix
    number = 0
    while True:
        tail = f".{run}{f'-{number}' if number else ''}{extension}"
        room = _NAME_MAX - len(os.fsencode(tail + SUFFIX))
        kept = stem
        while kept and len(os.fsencode(kept)) > room:
            kept = kept[:-1]
        yield kept + tail
        number += 1
