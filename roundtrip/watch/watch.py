"""The one door to wake-ups: chooses a backend for each folder, and again when the world changed.

a local folder          -> kernel events
a network mount         -> polling, in a thread of its own, since a call on it may hang
no room in the kernel   -> polling until there is room, tried again at each `check`
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roundtrip.errors import ConfigError, ShareError
from roundtrip.watch import mounts
from roundtrip.watch.choose import Choice, choose, choose_from
from roundtrip.watch.poll import PollWatcher
from roundtrip.watch.port import TROUBLES, Deliver, Event, Kind, NoRoom, Watcher
from roundtrip.watch.settings import WatchSettings

logger = logging.getLogger("roundtrip.watch")

OnTrouble = Callable[[str, str | None], None]
"""Takes a folder's key, and one line that says what is wrong with its watch; None: nothing now."""


@dataclass(slots=True)
class _Placed:
    """A folder that was added; `real` is its path without symbolic links when it was placed."""

    path: Path
    kinds: frozenset[Kind]
    real: str
    backend: str = ""


class Watch:
    """Watches folders, each by the backend that fits it. Made inside a running event loop."""

    def __init__(
        self,
        deliver: Deliver,
        settings: WatchSettings,
        on_trouble: OnTrouble = lambda folder, text: None,
    ) -> None:
        self._outer = deliver
        self._settings = settings
        self._on_trouble = on_trouble
        self._watchers: dict[str, Watcher] = {}
        self._placed: dict[str, _Placed] = {}
        self._troubled: set[str] = set()

    def add(self, folder: str, path: Path, kinds: frozenset[Kind]) -> None:
        """Report `kinds` of the folder at `path` under the key `folder`; RESCAN and GONE always.

        Raises:
            ShareError: it can't be watched: missing, unreadable, added already.
            ConfigError: there is no backend of the name that the settings ask for.
        """
        if folder in self._placed:
            raise ShareError(f"{path} can't be watched: {folder!r} is watched already")
        choice = choose(path, self._settings.backend)
        placed = _Placed(path, kinds, os.path.realpath(path))
        try:
            self._place(folder, placed, choice)
        except NoRoom as error:
            self._poll_instead(folder, placed, error)
        self._placed[folder] = placed

    def remove(self, folder: str) -> None:
        """Report nothing more of `folder`; a key that was never added is no error."""
        placed = self._placed.pop(folder, None)
        if placed is not None:
            self._watchers[placed.backend].remove(folder)
            self._tell(folder, None)

    def check(self) -> None:
        """Look whether each path still leads to the folder that is watched; for a slow timer.

        A path on which a network mount has come is not touched: a call there may hang.
        """
        for folder, placed in list(self._placed.items()):
            if self._placed.get(folder) is placed:
                self._check_backend(folder, placed)
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

    # Which backend

    def _place(self, folder: str, placed: _Placed, choice: Choice) -> None:
        self._watcher(choice.backend).add(folder, placed.path, placed.kinds)
        self._say(folder, placed, choice)

    def _say(self, folder: str, placed: _Placed, choice: Choice) -> None:
        placed.backend = choice.backend
        if choice.backend != "poll":
            placed.real = os.path.realpath(placed.path)
        fields = {"folder": folder, "backend": choice.backend, "reason": choice.reason}
        logger.info("watching", extra=fields)

    def _poll_instead(self, folder: str, placed: _Placed, reason: NoRoom) -> None:
        """The kernel has no room: look every few seconds, until `check` finds room."""
        self._hand_to_poll(folder, placed, Choice("poll", str(reason)))
        self._tell(folder, self._polled_for(reason))

    def _polled_for(self, reason: NoRoom) -> str:
        return f"{reason}; until then it is looked at every {self._settings.interval:g} s"

    def _hand_to_poll(self, folder: str, placed: _Placed, choice: Choice) -> None:
        poll = self._watcher("poll")
        assert isinstance(poll, PollWatcher)
        poll.take_over(folder, placed.path, placed.kinds)
        self._say(folder, placed, choice)

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

            return InotifyWatcher(self._deliver, self._on_full, self.check)
        if backend == "fanotify":
            from roundtrip.watch.fanotify import FanotifyWatcher

            return FanotifyWatcher(self._deliver, self._on_full, self.check)
        names = "auto, inotify, fanotify, poll"
        raise ConfigError([f"watch.backend: {backend!r} is none of {names}"])

    def _check_backend(self, folder: str, placed: _Placed) -> None:
        try:
            choice = self._choice(placed)
        except OSError:
            return  # The mount table can't be read now: all stays as it is until the next check.
        if choice.backend != placed.backend and self._change(folder, placed, choice):
            # What happened between the last look of the one and the first of the other; and where
            # a mount hangs, no first look will ever end.
            self._outer([Event(folder, "", Kind.RESCAN)])

    def _choice(self, placed: _Placed) -> Choice:
        """The backend for what is at the path now, without touching a network mount there."""
        by_table = self._settings.backend in ("auto", "fanotify")
        if by_table and os.path.exists(mounts.MOUNTINFO):
            choice = choose_from(mounts.read(), placed.real)
            if choice.backend == "poll":
                return choice
        return choose(placed.path, self._settings.backend)

    def _change(self, folder: str, placed: _Placed, choice: Choice) -> bool:
        """Go over to another backend; False if that can't be done now."""
        before = placed.backend
        if choice.backend == "poll":
            self._watchers[before].remove(folder)
            self._hand_to_poll(folder, placed, choice)
            return True
        try:
            self._place(folder, placed, choice)
        except NoRoom as error:
            self._tell(folder, self._polled_for(error))
            return False
        except ShareError as error:
            logger.info("watching as before", extra={"folder": folder, "reason": str(error)})
            return False
        self._watchers[before].remove(folder)
        self._tell(folder, None)
        return True

    # What comes from the backends

    def _on_full(self, folder: str, reason: NoRoom) -> None:
        """A folder was replaced, and the kernel has no watch for the new one."""
        self._poll_instead(folder, self._placed[folder], reason)

    def _deliver(self, events: list[Event]) -> None:
        if events[0].kind in TROUBLES:  # they come first, so nothing is searched for in vain
            for event in events:
                if event.kind in TROUBLES:
                    self._judge(event.folder, event.kind)
        self._outer(events)

    def _judge(self, folder: str, kind: Kind) -> None:
        """A folder has gone, or is (back) there: perhaps on another kind of file system."""
        placed = self._placed.get(folder)
        if placed is None:
            return
        if kind is Kind.GONE:
            self._tell(folder, f"{placed.path} is not there, or can't be read: what happens in it"
                       " is not noticed; put it back")  # fmt: skip
            return
        choice = self._choice(placed)
        if choice.backend == placed.backend:
            self._tell(folder, None)
        else:
            self._change(folder, placed, choice)

    def _tell(self, folder: str, text: str | None) -> None:
        if text is not None:
            self._troubled.add(folder)
        elif folder not in self._troubled:
            return
        else:
            self._troubled.discard(folder)
        self._on_trouble(folder, text)
