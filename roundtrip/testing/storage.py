"""Where the files of the two hosts are: in memory for simulations, on a real share for tortures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from roundtrip.shares.port import Folder
from roundtrip.testing.disk import Disk
from roundtrip.testing.staff import DEAD, DESK, DUE
from roundtrip.testing.weather import Weather

SHARES = ("unenriched", "enriched")
LABELS = {
    "a": ("enriched", *(f"a/{label}" for label in DESK), DUE, DEAD),
    "b": ("unenriched", "b/kept", "b/quarantine"),
}
"""The folders on each host's disk."""
HOME = {label: role for role, labels in LABELS.items() for label in labels}

Files = dict[str, dict[str, bytes]]


class Storage(Protocol):
    """The folders of both hosts. `note` and `note_move` are told of each change."""

    def folder(self, role: str, label: str) -> Folder:
        """A folder as one of the hosts reaches it, without any fault of ours."""

    def files(self) -> Files:
        """The truth: all files by folder and name."""

    def has(self, label: str, name: str) -> bool:
        """Whether a file is there."""

    def write(self, label: str, name: str, content: bytes) -> None:
        """An application puts a file into a private folder, synced and at once."""

    def take(self, label: str, name: str) -> bool:
        """Somebody takes a file out of a private folder; False if it isn't there."""

    def note(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        """Something has changed."""

    def note_move(self, label: str, name: str, to: str, new_name: str) -> None:
        """A file has another name now."""

    def cut_power(self, role: str, weather: Weather) -> None:
        """A host has lost its power."""


class MemoryStorage:
    """Two disks in memory."""

    def __init__(self, clock: Callable[[], float], *, keeps_history: bool) -> None:
        self._disks = {role: Disk(clock, keeps_history=keeps_history) for role in "ab"}
        for label, role in HOME.items():
            self._disks[role].folder(label)

    def folder(self, role: str, label: str) -> Folder:
        return self._disks[HOME[label]].folder(label)

    def files(self) -> Files:
        return {**self._disks["a"].memory.files, **self._disks["b"].memory.files}

    def has(self, label: str, name: str) -> bool:
        return name in self._disks[HOME[label]].memory.files[label]

    def write(self, label: str, name: str, content: bytes) -> None:
        disk = self._disks[HOME[label]]
        disk.memory.files[label][name] = content
        disk.note(label, "write", name, durable=True)

    def take(self, label: str, name: str) -> bool:
        disk = self._disks[HOME[label]]
        was_there = disk.memory.files[label].pop(name, None) is not None
        if was_there:
            disk.note(label, "remove", name, durable=True)
        return was_there

    def note(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        self._disks[HOME[label]].note(label, verb, name, durable=durable)

    def note_move(self, label: str, name: str, to: str, new_name: str) -> None:
        self._disks[HOME[label]].note_move(label, name, to, new_name)

    def cut_power(self, role: str, weather: Weather) -> None:
        self._disks[role].cut_power(weather)
