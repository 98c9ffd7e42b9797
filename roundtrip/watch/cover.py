"""How much of a tree is watched, and by what.

one folder, local or not              -> `Flat`: `Watch`, as the agent's folders
a tree, fanotify, and we are allowed  -> `_Whole`: one mark on its file system
a tree on a local file system         -> `_Each`: a mark on each folder
a tree on a network mount, or no room -> `_Polled`: all of it is listed every `interval` seconds
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.errors import ShareError
from roundtrip.watch.choose import Choice, choose
from roundtrip.watch.kernel import KernelWatcher
from roundtrip.watch.port import Deliver, Event, Kind, NoRoom
from roundtrip.watch.settings import WatchSettings
from roundtrip.watch.watch import Watch

if TYPE_CHECKING:
    from roundtrip.watch.fanotify_tree import FanotifyTree

logger = logging.getLogger("roundtrip.watch")

REST = 4.0
"""After a listing of a polled tree, rest at least this many times as long as it took."""

Tell = Callable[[str | None], None]
"""Takes one line that says what is wrong with the watch; None: nothing any more."""


class Cover:
    """What of a tree is watched; by itself it needs nothing for a single folder."""

    backend: str = "none"

    def cover(self, folder: str) -> None:
        """A folder is about to be listed."""

    def walked(self, folder: str) -> None:
        """A folder and all below it have been listed."""

    def check(self) -> None:
        """See `Tree.check`."""

    def close(self) -> None:
        """See `Tree.close`."""


class Flat(Cover):
    """One folder, by the watch that fits it."""

    def __init__(
        self,
        deliver: Deliver,
        settings: WatchSettings,
        top: Path,
        kinds: frozenset[Kind],
        on_trouble: Tell,
    ) -> None:
        self._watch = Watch(deliver, settings, lambda folder, text: on_trouble(text))
        try:
            self._watch.add("", top, kinds)
        except BaseException:
            self._watch.close()
            raise

    @property
    def backend(self) -> str:  # type: ignore[override]
        return self._watch.backends()[""]

    def check(self) -> None:
        self._watch.check()

    def close(self) -> None:
        self._watch.close()


def covering(
    deliver: Deliver,
    settings: WatchSettings,
    top: Path,
    kinds: frozenset[Kind],
    on_trouble: Tell,
) -> Cover:
    """What watches all of a tree, by what the settings and this host allow; raises ShareError."""
    choice = choose(top, settings.backend)
    if choice.backend == "fanotify":
        from roundtrip.watch.fanotify_tree import FanotifyTree, refused_filesystem

        if refused_filesystem(top) is None:
            logger.info("watching", extra={"folder": str(top), **_whole(choice)._asdict()})
            return _Whole(FanotifyTree(deliver, top, kinds))
    logger.info("watching", extra={"folder": str(top), **choice._asdict()})
    if choice.backend == "poll":
        return _Polled(deliver, settings.interval)
    return _Each(deliver, settings, top, kinds, on_trouble, choice)


def _whole(choice: Choice) -> Choice:
    return Choice(_Whole.backend, choice.reason)


class _Whole(Cover):
    """A mark on the whole file system, which needs nothing for each folder."""

    backend = "fanotify, whole file system"

    def __init__(self, tree: FanotifyTree) -> None:
        self._tree = tree

    def check(self) -> None:
        self._tree.check()

    def close(self) -> None:
        self._tree.close()


class _Polled(Cover):
    """Asks for a listing of everything every `interval` seconds."""

    backend = "poll"

    def __init__(self, deliver: Deliver, interval: float) -> None:
        self._deliver = deliver
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0

    def cover(self, folder: str) -> None:
        if folder == "":
            self._began = time.monotonic()

    def walked(self, folder: str) -> None:
        if folder == "":
            pause = max(self._interval, (time.monotonic() - self._began) * REST)
            self.close()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pause, self._deliver, [Event("", "", Kind.RESCAN)])

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Each(Cover):
    """A mark on each folder. Once there is no room for one more, the whole tree is polled."""

    def __init__(
        self,
        deliver: Deliver,
        settings: WatchSettings,
        top: Path,
        kinds: frozenset[Kind],
        on_trouble: Tell,
        choice: Choice,
    ) -> None:
        self._outer = deliver
        self._interval = settings.interval
        self._top = top
        self._kinds = kinds
        self._on_trouble = on_trouble
        self._within: dict[str, set[str]] = {}  # folder -> names of the watched folders in it
        self._checking = False
        self._polled: _Polled | None = None
        self._watcher: KernelWatcher | None = None
        try:
            self._watcher = _made(choice.backend, self._deliver, self._on_full)
            self._add("")
        except NoRoom as error:
            self._poll(error)
        except BaseException:
            self.close()
            raise

    @property
    def backend(self) -> str:  # type: ignore[override]
        return self._watcher.backend if self._watcher is not None else "poll"

    def cover(self, folder: str) -> None:
        if self._polled is not None:
            self._polled.cover(folder)
        elif folder not in self._within:
            try:
                self._add(folder)
            except NoRoom as error:
                self._poll(error)
            except ShareError as error:  # It has gone again, or is not for us to read.
                logger.info("folder not watched", extra={"folder": folder, "reason": str(error)})

    def walked(self, folder: str) -> None:
        if self._polled is not None:
            self._polled.walked(folder)

    def check(self) -> None:
        if self._watcher is not None:
            self._watcher.check()

    def close(self) -> None:
        for each in (self._watcher, self._polled):
            if each is not None:
                each.close()
        self._watcher = None

    def _add(self, folder: str) -> None:
        assert self._watcher is not None
        self._watcher.add(folder, self._top / folder, self._kinds)
        self._within[folder] = set()
        above, _, name = folder.rpartition("/")
        if folder and above in self._within:
            self._within[above].add(name)

    def _drop(self, folder: str) -> None:
        """A folder has gone, or is somewhere else with all that is in it."""
        above, _, name = folder.rpartition("/")
        if above in self._within:
            self._within[above].discard(name)
        ahead = [folder]
        while ahead:
            here = ahead.pop()
            names = self._within.pop(here, None)
            if names is not None and self._watcher is not None:
                self._watcher.remove(here)
                ahead += [f"{here}/{each}" for each in names]

    def _on_full(self, folder: str, reason: NoRoom) -> None:
        self._within.pop(folder, None)
        self._poll(reason)

    def _poll(self, reason: NoRoom) -> None:
        if self._polled is not None:
            return
        self.close()
        self._within.clear()
        self._on_trouble(f"{reason}; all is listed every {self._interval:g} s instead")
        self._polled = _Polled(self._outer, self._interval)
        asyncio.get_running_loop().call_soon(self._outer, [Event("", "", Kind.RESCAN)])

    def _look_below(self, events: list[Event]) -> None:
        """Where another folder is at a path, so are others below it, of which no event tells."""
        if self._checking or all(event.kind is not Kind.RESCAN for event in events):
            return
        self._checking = True
        try:
            self.check()
        finally:
            self._checking = False

    def _deliver(self, events: list[Event]) -> None:
        self._look_below(events)
        # After an overflow every folder is to be listed; the top's listing is all of them.
        if Event("", "", Kind.RESCAN) in events:
            events = [each for each in events if each.kind is not Kind.RESCAN or not each.folder]
        for event in events:
            if event.kind is Kind.GONE and event.folder:
                self._drop(event.folder)
            elif event.kind is Kind.REMOVED:
                path = f"{event.folder}/{event.name}" if event.folder else event.name
                if path in self._within:
                    self._drop(path)
        self._outer(events)


def _made(backend: str, deliver: Deliver, on_full: Callable[[str, NoRoom], None]) -> KernelWatcher:
    if backend == "fanotify":
        from roundtrip.watch.fanotify import FanotifyWatcher

        return FanotifyWatcher(deliver, on_full)
    from roundtrip.watch.inotify import InotifyWatcher

    return InotifyWatcher(deliver, on_full)
