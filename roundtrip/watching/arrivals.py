"""From events and listings to paths: what of a folder is worth a look."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from roundtrip.protocol.names import MARKER_SUFFIX
from roundtrip.watch import Event, Kind, WatchSettings
from roundtrip.watch.tree import Tree
from roundtrip.watching.journal import Memory
from roundtrip.watching.plan import Plan, chooser, enters
from roundtrip.watching.readiness import FOUND
from roundtrip.watching.telling import Teller
from roundtrip.watching.work import Work

_KINDS = {
    "close_write": {Kind.APPEARED, Kind.CREATED, Kind.CLOSED, Kind.REMOVED},
    "moved_to": {Kind.APPEARED, Kind.CREATED, Kind.REMOVED},
    "done": {Kind.APPEARED, Kind.CREATED, Kind.CLOSED, Kind.REMOVED},
}
_WORDS = {Kind.APPEARED: "moved_to", Kind.CLOSED: "close_write", Kind.CREATED: "created"}
_CHECK = 300.0  # seconds between two looks whether the watch is where it should be
_SLICE = 200  # files of a listing after which the loop turns


class Arrivals:
    """Watches the folder, lists it, and has `work` consider what may be new.

    Made inside a running event loop; `on_error` is told of defects.

    Raises:
        ShareError: the folder can't be watched.
    """

    def __init__(self, plan: Plan, top: str, work: Work, journal: Memory, teller: Teller) -> None:
        self._plan = plan
        self._top = top
        self._work = work
        self._journal = journal
        self._teller = teller
        self._loop = asyncio.get_running_loop()
        self._is_wanted = chooser(plan)
        self._by_marker = plan.on == "done"
        self._old = _Old() if plan.new_only else None
        self._task: asyncio.Task[None] | None = None
        self._to_list: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.on_error: Callable[[BaseException], None] = lambda error: None
        work.listing = lambda: self._task is not None
        settings = WatchSettings(plan.backend, plan.interval)
        self._tree = Tree(
            self._notice,
            None if plan.once else settings,
            plan.folder,
            frozenset(_KINDS[plan.on]),
            deep=plan.deep,
            enters=enters,
            on_trouble=lambda text: None if text is None else teller.trouble(text),
        )

    @property
    def backend(self) -> str:
        """What tells of changes."""
        return self._tree.backend

    @property
    def is_whole(self) -> bool:
        """Whether every folder could be listed so far."""
        return self._tree.is_whole

    def start(self) -> None:
        """Begin with what is there."""
        self._want_listing("")
        if not self._plan.once:
            self._timer = self._loop.call_later(_CHECK, self._check)

    def close(self) -> None:
        """Tell nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._tree.close()

    def _check(self) -> None:
        self._tree.check()
        self._timer = self._loop.call_later(_CHECK, self._check)

    # Events

    def _notice(self, events: list[Event]) -> None:
        for event in events:
            self._note(event, f"{event.folder}/{event.name}" if event.folder else event.name)
        self._work.pump()

    def _note(self, event: Event, path: str) -> None:
        match event.kind:
            case Kind.RESCAN:
                self._want_listing(event.folder)
            case Kind.GONE:
                if not event.folder:
                    self._teller.trouble(
                        f"{self._plan.folder} is not there, or can't be read; put it back"
                    )
            case Kind.FOLDER:
                if self._plan.deep and enters(event.name):
                    self._want_listing(path)
            case Kind.REMOVED:
                self._consider(path, FOUND, new=True)  # To be forgotten, or it is back already.
            case Kind.CREATED if not self._is_made_whole(path):
                pass  # It will be closed or renamed.
            case kind:
                self._consider(path, "done" if self._by_marker else _WORDS[kind], new=True)

    def _is_made_whole(self, path: str) -> bool:
        """Whether its creation is the last that is heard of a name: a link, an empty marker."""
        if self._by_marker:
            return True
        try:
            return os.lstat(os.path.join(self._top, path)).st_nlink > 1
        except OSError:
            return False  # Gone again.

    def _consider(self, path: str, event: str, *, new: bool = False) -> None:
        if self._by_marker:
            path = path.removesuffix(MARKER_SUFFIX)
        name = path.rpartition("/")[2]
        if not name or not self._is_wanted(name):
            return
        if self._old is not None and self._old.hides(path, new=new):
            return
        self._work.consider(path, event)

    # Listings

    def _want_listing(self, folder: str) -> None:
        if self._closed:
            return
        self._to_list.add(folder)
        if self._task is None:
            self._task = self._loop.create_task(self._list())
            self._task.add_done_callback(self._listed)

    async def _list(self) -> None:
        while self._to_list:
            # After an overflow, or a folder that came with all that is in it, one covers many.
            folder = min(self._to_list, key=len)
            self._to_list = {each for each in self._to_list if not _is_in(each, folder)}
            await self._list_below(folder)

    async def _list_below(self, folder: str) -> None:
        there: set[str] = set()
        since_turn = 0
        for here, entries in self._tree.walk(folder):
            for entry in _by_age(entries):
                path = f"{here}/{entry.name}" if here else entry.name
                there.add(path)
                if not self._by_marker or path.endswith(MARKER_SUFFIX):
                    self._consider(path, FOUND)
            since_turn += len(entries) + 1
            if since_turn > _SLICE:
                since_turn = 0
                self._work.pump()
                await asyncio.sleep(0)
        if self._old is not None and not folder:
            self._old.is_complete = True
        for known in self._journal.entries():
            if known.path not in there and _is_in(known.path, folder):
                self._work.consider(known.path, FOUND)

    def _listed(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self.on_error(error)
        elif self._to_list:
            self._want_listing(self._to_list.pop())
        self._work.pump()


class _Old:
    """Files that were there at the start and that nothing has told of since (--new-only)."""

    def __init__(self) -> None:
        self.is_complete = False  # Whether all that was there at the start is known.
        self._paths: set[str] = set()
        self._early: set[str] = set()  # told of before the listing came to them

    def hides(self, path: str, *, new: bool) -> bool:
        """Whether a path is to be left alone; `new` if an event told of it."""
        if new:
            self._paths.discard(path)
            if not self.is_complete:
                self._early.add(path)
            return False
        if not self.is_complete and path not in self._early:
            self._paths.add(path)
        return path in self._paths


def _is_in(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _by_age(entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    """Oldest first, as far as that can be told."""

    def key(entry: os.DirEntry[str]) -> tuple[int, str]:
        try:
            return entry.stat(follow_symlinks=False).st_mtime_ns, entry.name
        except OSError:
            return 0, entry.name

    return sorted(entries, key=key)
