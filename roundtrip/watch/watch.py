"""The one door to wake-ups: chooses a backend for each folder, and again when a mount changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from roundtrip.errors import ConfigError, ShareError
from roundtrip.watch.choose import Choice, choose
from roundtrip.watch.poll import PollWatcher
from roundtrip.watch.port import TROUBLES, Deliver, Event, Kind, Watcher
from roundtrip.watch.settings import WatchSettings

logger = logging.getLogger("roundtrip.watch")


class _Placed(NamedTuple):
    path: Path
    kinds: frozenset[Kind]
    backend: str


class Watch:
    """Watches folders, each by the backend that fits it. Made inside a running event loop."""

    def __init__(self, deliver: Deliver, settings: WatchSettings) -> None:
        self._outer = deliver
        self._settings = settings
        self._watchers: dict[str, Watcher] = {}
        self._placed: dict[str, _Placed] = {}

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """Report `kinds` of the folder at `path` under the key `folder`; RESCAN and GONE always.

        Raises:
            ShareError: it can't be watched: missing, unreadable, added already, a limit reached.
            ConfigError: there is no backend of the name that the settings ask for.
        """
        if folder in self._placed:
            raise ShareError(f"{path} can't be watched: {folder!r} is watched already")
        self._place(folder, path, kinds, choose(path, self._settings.backend))

    def remove(self, folder: str) -> None:
        """Report nothing more of `folder`; a key that was never added is no error."""
        placed = self._placed.pop(folder, None)
        if placed is not None:
            self._watchers[placed.backend].remove(folder)

    def check(self) -> None:
        """Look whether each path still leads to the folder that is watched; for a slow timer."""
        for watcher in list(self._watchers.values()):
            watcher.check()

    def backends(self) -> dict[str, str]:
        """Which backend watches each folder, by its key."""
        return {folder: placed.backend for folder, placed in self._placed.items()}

    def close(self) -> None:
        """Report nothing more and give everything back."""
        for watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()
        self._placed.clear()

    def _place(self, folder: str, path: Path, kinds: frozenset[Kind], choice: Choice) -> None:
        self._watcher(choice.backend).add(folder, path, kinds)
        self._placed[folder] = _Placed(path, kinds, choice.backend)
        fields = {"folder": folder, "backend": choice.backend, "reason": choice.reason}
        logger.info("watching", extra=fields)

    def _watcher(self, backend: str) -> Watcher:
        if backend not in self._watchers:
            self._watchers[backend] = self._make(backend)
        return self._watchers[backend]

    def _make(self, backend: str) -> Watcher:
        if backend == "poll":
            return PollWatcher(self._deliver, self._settings.interval)
        if backend == "inotify":
            # Not at the top: who only polls needs neither the package nor its 36 ms to import.
            from roundtrip.watch.inotify import InotifyWatcher

            return InotifyWatcher(self._deliver)
        raise ConfigError([f"watch.backend: {backend!r} is none of auto, inotify, poll"])

    def _deliver(self, events: list[Event]) -> None:
        if events[0].kind in TROUBLES:  # they come first, so nothing is searched for in vain
            for event in events:
                if event.kind is Kind.RESCAN:
                    self._choose_again(event.folder)
        self._outer(events)

    def _choose_again(self, folder: str) -> None:
        """Change the backend if what is at the path now wants it: a network mount came late."""
        placed = self._placed.get(folder)
        if placed is None:
            return
        choice = choose(placed.path, self._settings.backend)
        if choice.backend == placed.backend:
            return
        try:
            self._place(folder, placed.path, placed.kinds, choice)
        except ShareError as error:
            logger.warning("watching as before", extra={"folder": folder, "reason": str(error)})
            return
        self._watchers[placed.backend].remove(folder)
