"""One folder, or all folders below it: watched by what fits, and a walk that misses nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from roundtrip.watch.cover import Cover, Flat, Tell, covering
from roundtrip.watch.port import Deliver, Kind
from roundtrip.watch.settings import WatchSettings

logger = logging.getLogger("roundtrip.watch")

Listing = tuple[str, list[os.DirEntry[str]]]
"""A folder relative to the top, and what is in it apart from folders."""


class Tree:
    """Tells what happens in a folder and, if `deep`, below it. Made inside a running event loop.

    An event's `folder` is the path relative to `top`, "" for itself. After RESCAN and FOLDER the
    one who is told has to `walk` there. `enters` says by its name whether a folder belongs to the
    tree; links to folders never do. Without `settings` nothing is told, and it can only be walked.

    Raises:
        ShareError: the top can't be watched.
    """

    def __init__(
        self,
        deliver: Deliver,
        settings: WatchSettings | None,
        top: Path,
        kinds: frozenset[Kind],
        *,
        deep: bool = False,
        enters: Callable[[str], bool] = lambda name: True,
        on_trouble: Tell = lambda text: None,
    ) -> None:
        self._top = top
        self._deep = deep
        self._enters = enters
        self.is_whole = True
        """Whether every folder could be listed so far."""
        self._cover: Cover
        if settings is None:
            self._cover = Cover()
        elif deep:
            kinds = kinds | {Kind.FOLDER, Kind.REMOVED}
            self._cover = covering(deliver, settings, top, kinds, on_trouble)
        else:
            self._cover = Flat(deliver, settings, top, kinds, on_trouble)

    @property
    def backend(self) -> str:
        """What tells of changes: `inotify`, `fanotify`, `fanotify, whole file system`, `poll`."""
        return self._cover.backend

    def walk(self, folder: str = "") -> Iterator[Listing]:
        """List a folder and all below it, each after its watch was put on."""
        ahead = [folder]
        while ahead:
            here = ahead.pop()
            self._cover.cover(here)
            try:
                with os.scandir(self._top / here) as found:
                    entries = list(found)
            except OSError as error:
                if here == "" or not isinstance(error, FileNotFoundError | NotADirectoryError):
                    fields = {"folder": here or str(self._top), "reason": error.strerror}
                    logger.warning("folder not listed", extra=fields)
                    self.is_whole = False
                continue
            folders = {each.name for each in entries if each.is_dir(follow_symlinks=False)}
            yield here, [each for each in entries if each.name not in folders]
            if self._deep:
                names = (name for name in folders if self._enters(name))
                ahead += [f"{here}/{name}" if here else name for name in names]
        self._cover.walked(folder)

    def check(self) -> None:
        """Look whether the watch is still where it should be; for a slow timer."""
        self._cover.check()

    def close(self) -> None:
        """Tell nothing more and give everything back."""
        self._cover.close()
