"""What is known of files that were handled: one line each, on disk before it counts.

    <state>/lock       held by the one watch that uses this state
    <state>/journal    a line for what became of each file; the last line of a path counts
    <state>/claims/    a file for each run: made before it begins, gone when the journal has its end

A line is only appended; when half of the lines say nothing any more, the rest is written anew. What
is known of a file that has gone is forgotten, by a line, too: it may be put back while nobody
watches. So the journal is as long as the folder.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roundtrip.errors import ShareError

JOURNAL = "journal"
VERSION = 1
_FORGOTTEN = "forgotten"  # the key of a line that says so of a path
_SLACK = 1000  # lines that say nothing any more are worth no rewriting up to this many

_KEPT_NS = 30 * 24 * 3600 * 10**9  # of files whose folder was replaced, or is not mounted

DONE, FAILED, RETRY = "done", "failed", "retry"


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a file: `run` is the last run's number, `again` when it is due (epoch)."""

    path: str  # relative to the watched folder
    identity: str
    outcome: str  # done | failed | retry
    run: int
    place: str = ""  # what was at the watched path (`finding.Place`)
    attempts: int = 1
    interruptions: int = 0
    reason: str | None = None
    again: float | None = None
    dead: str | None = None  # where the file was moved to

    def is_old(self) -> bool:
        """Whether what is known is not worth keeping, if the file isn't there."""
        return time.time_ns() - self.run > _KEPT_NS


class Memory:
    """Entries that end with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._last = 0

    def get(self, path: str) -> Entry | None:
        """What is known of the file at a path."""
        return self._entries.get(path)

    def add(self, entry: Entry) -> None:
        """Remember what became of a file."""
        self._entries[entry.path] = entry
        self._last = max(self._last, entry.run)

    def forget(self, path: str) -> None:
        """The file has gone."""
        self._entries.pop(path, None)

    def entries(self) -> list[Entry]:
        """Everything that is known."""
        return list(self._entries.values())

    def next_run(self) -> int:
        """A run's number: larger than all before, whatever the clock does."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def flush(self) -> None:
        """Make durable what was added."""

    @property
    def is_behind(self) -> bool:
        """Whether something is not durable."""
        return False

    def close(self) -> None:
        """Give everything back."""


class Journal(Memory):
    """Entries in a state folder, whose lock the caller holds.

    `folder` is the watched one without links, `called` the absolute path that it was given by: a
    link may lead elsewhere the next time. `command` tells commands apart; whether what is
    remembered is of another one, `is_of_another_command` says.

    Raises:
        ShareError: it can't be read, or belongs to another folder.
    """

    def __init__(self, state: Path, folder: str, called: str, command: str = "") -> None:
        super().__init__()
        self._path = state / JOURNAL
        self._head = {"v": VERSION, "folder": folder, "called": called, "command": command}
        self.is_of_another_command = False
        self._waiting: list[bytes] = []
        self._forgotten: list[bytes] = []
        self._lines = 0
        self._opened = -1
        try:
            self._load(command)
        except OSError as error:
            raise ShareError(f"{self._path}: can't be used: {error.strerror}") from None

    def _load(self, command: str) -> None:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            self._rewrite()
            return
        head = _parsed(lines[0]) or {}
        if head.get("v") != VERSION:
            raise ShareError(f"{self._path}: not a journal of this version; move it away")
        if all(head.get(key) != self._head[key] for key in ("folder", "called")):
            raise ShareError(
                f"{self._path.parent}: this is the state of {head.get('folder')!a}; "
                "give each folder a --state of its own"
            )
        self._entries = _replayed(lines[1:])
        self._last = max((entry.run for entry in self._entries.values()), default=0)
        self.is_of_another_command = head.get("command", command) != command
        self._rewrite()  # Without a line that a power cut has torn.

    def add(self, entry: Entry) -> None:
        """Remember what became of a file; durable with the next `flush`."""
        super().add(entry)
        self._waiting.append(_line(entry))

    def forget(self, path: str) -> None:
        """The file has gone; durable with the `flush` after the next one.

        Not earlier: the claim of its run may still be there, which would then be taken again.
        """
        known = self.get(path)
        if known is not None:
            super().forget(path)
            self._forgotten.append(_json({_FORGOTTEN: path, "run": known.run}))

    @property
    def is_behind(self) -> bool:
        """Whether another flush is needed."""
        return bool(self._waiting or self._forgotten)

    def flush(self) -> None:
        """Make durable what was added.

        Raises:
            OSError: it is not; what was added stays so, and the next flush tries again.
        """
        if self._waiting and self._lines > 2 * len(self._entries) + _SLACK:
            self._rewrite()
        elif self._waiting:
            self._append(b"".join(self._waiting))
            self._lines += len(self._waiting)
        self._waiting, self._forgotten = self._forgotten, []

    def _append(self, lines: bytes) -> None:
        begin = os.lseek(self._opened, 0, os.SEEK_END)
        try:
            _write_all(self._opened, lines)
            os.fdatasync(self._opened)
        except OSError:
            os.ftruncate(self._opened, begin)
            raise

    def _rewrite(self) -> None:
        part = self._path.with_name(f".{JOURNAL}.part")
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(opened, _json(self._head) + b"".join(map(_line, self._entries.values())))
            os.fsync(opened)
            os.rename(part, self._path)
            sync_folder(self._path.parent)
        except BaseException:
            os.close(opened)
            raise
        self.close()
        self._opened, self._lines = opened, len(self._entries)

    def close(self) -> None:
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(opened: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(opened, view) :]


def _line(entry: Entry) -> bytes:
    return _json({k: v for k, v in asdict(entry).items() if v is not None})


def _json(fields: dict[str, Any]) -> bytes:
    # Escaped, as json.dumps does by itself: names of any bytes come back as they were.
    return json.dumps(fields).encode() + b"\n"


def _replayed(lines: list[bytes]) -> dict[str, Entry]:
    """What the lines say in the end, by path."""
    found: dict[str, Entry] = {}
    for line in lines:
        fields = _parsed(line) or {}
        known = found.get(str(fields.get(_FORGOTTEN)))
        if (entry := entry_of(fields)) is not None:
            found[entry.path] = entry
        elif known is not None and known.run == fields.get("run"):
            del found[known.path]  # Not if another came to that path since.
    return found


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def entry_of(fields: dict[str, object]) -> Entry | None:
    """The entry that was written down as these fields; None if they are no entry."""
    try:
        return Entry(**fields)  # type: ignore[arg-type]
    except TypeError:
        return None


def failed_in(state: Path) -> list[Entry]:
    """What failed for good, by the journal of a state folder, whoever uses it now.

    Raises:
        ShareError: it can't be read.
    """
    try:
        lines = (state / JOURNAL).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShareError(f"{state / JOURNAL}: can't be read: {error.strerror}") from None
    return [entry for entry in _replayed(lines[1:]).values() if entry.outcome == FAILED]
