"""What `send --wait` shows on a terminal: how far each file is, and for how long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from roundtrip.cli.words import printable, progress_words
from roundtrip.pace import Pace
from roundtrip.protocol.progress import ProgressNote

_STAGES = ("submitted", "pending", "opening", "requested", "answering", "answered", "delivered")
_LAST = len(_STAGES) - 1


class View:
    """A bar for each file on stderr; nothing at all where stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[file]}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[stage]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, Pace] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def add(self, file: str) -> Callable[[str], None]:
        """A bar for `file`; returns what is to be told of its stages."""
        task = self._progress.add_task("", total=_LAST, file=printable(file), stage="submitted")
        self._tasks[file] = task

        def show(stage: str) -> None:
            if stage == "requested" and file in self._paces:
                return  # Its progress says more.
            done = _STAGES.index(stage) if stage in _STAGES else None
            self._progress.update(task, total=_LAST, completed=done, stage=stage)

        return show

    def progress(self, file: str) -> Callable[[ProgressNote], None] | None:
        """What is to be told of the progress of a file that was added; None if nobody sees it."""
        if self._progress.disable:
            return None

        def show(note: ProgressNote) -> None:
            pace = self._paces.setdefault(file, Pace())
            words = progress_words(pace.told(note))
            self._progress.update(self._tasks[file], total=1.0, completed=note.done, stage=words)

        return show

    def finish(self, file: str, outcome: str) -> None:
        """The file's bar is full."""
        task = self._tasks[file]
        self._progress.update(task, total=_LAST, completed=_LAST, stage=outcome)
