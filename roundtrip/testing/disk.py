"""A host's disk in memory, and what a power cut leaves of it.

Renames, creations and removals are committed in the order in which they were made, as ext4 and XFS
do it, so a power cut undoes some of the last ones; a sync makes all of them lasting. Content that
was never synced may be torn, under its final name too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from roundtrip.shares.memory import MemoryDisk, MemoryFolder
from roundtrip.testing.weather import Weather

_JOURNAL = 12  # changes that may still be undone; older ones have been committed meanwhile
_WRITEBACK = 30.0  # seconds, after which the kernel has written content by itself
_TORN = 0.4  # probability that unsynced content is torn

_Files = dict[str, dict[str, bytes]]


class Disk:
    """One host's disk; `keeps_history` costs time and is needed where the power may be cut."""

    def __init__(self, clock: Callable[[], float], *, keeps_history: bool) -> None:
        self.memory = MemoryDisk()
        self._clock = clock
        self._keeps_history = keeps_history
        self._states: deque[_Files] = deque(maxlen=_JOURNAL)
        self._unsynced: dict[tuple[str, str], float] = {}

    def folder(self, label: str) -> MemoryFolder:
        """The folder of this label, made if it isn't there."""
        return self.memory.folder(label)

    def note(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        """Something has changed."""
        if not self._keeps_history:
            return
        if durable:
            self._states.clear()
            self._unsynced.pop((label, name), None)
        elif verb in ("put", "write"):
            self._unsynced[label, name] = self._clock()
        self._states.append({place: dict(files) for place, files in self.memory.files.items()})

    def note_move(self, label: str, name: str, to: str, new_name: str) -> None:
        """A file has another name now; it is as synced as before."""
        since = self._unsynced.pop((label, name), None)
        if since is not None:
            self._unsynced[to, new_name] = since

    def cut_power(self, weather: Weather) -> None:
        """The host has lost its power, and is on again."""
        if self._states:
            kept = weather.dice.choice(self._states)
            self.memory.files.update({place: dict(files) for place, files in kept.items()})
        for (label, name), since in self._unsynced.items():
            files = self.memory.files[label]
            is_torn = weather.dice.random() < _TORN and self._clock() - since < _WRITEBACK
            if is_torn and name in files:
                files[name] = weather.damaged(files[name])
        self._states.clear()
        self._unsynced.clear()
