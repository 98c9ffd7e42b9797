"""What waiting commands show on a terminal: how far each file is, or how many of them are done."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from roundtrip.cli.words import printable, progress_words
from roundtrip.pace import Pace
from roundtrip.protocol.progress import ProgressNote

_STAGES = ("submitted", "pending", "opening", "requested", "answering", "answered", "delivered")
_LAST = len(_STAGES) - 1
_BARS = 12
"""More files than these are one bar."""


class View(Protocol):
    """A context manager; nothing is shown where stderr is no terminal."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def add(self, file: str) -> Callable[[str], None] | None:
        """Show `file`; returns what is to be told of its stages, None if nobody sees them."""
        ...

    def progress(self, file: str) -> Callable[[ProgressNote], None] | None:
        """What is to be told of the progress of a file that was added; None if nobody sees it."""
        ...

    def finish(self, file: str, outcome: str) -> None:
        """The file is answered."""
        ...


def view_of(count: int) -> View:
    """A view of so many files: a bar for each, or one for all."""
    return Each() if count <= _BARS else All(count)


class _Shown:
    """The bars on stderr."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.fields[file]}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[stage]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
            # Else results that go to a file would be shown on the terminal, and not be in the file.
            redirect_stdout=sys.stdout.isatty(),
        )

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


class Each(_Shown):
    """A bar for each file."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, Pace] = {}

    def add(self, file: str) -> Callable[[str], None] | None:
        """See `View.add`."""
        if self._progress.disable:
            return None
        task = self._progress.add_task("", total=_LAST, file=printable(file), stage="submitted")
        self._tasks[file] = task

        def show(stage: str) -> None:
            if stage == "requested" and file in self._paces:
                return  # Its progress says more.
            done = _STAGES.index(stage) if stage in _STAGES else None
            self._progress.update(task, total=_LAST, completed=done, stage=stage)

        return show

    def progress(self, file: str) -> Callable[[ProgressNote], None] | None:
        """See `View.progress`."""
        if self._progress.disable:
            return None

        def show(note: ProgressNote) -> None:
            pace = self._paces.setdefault(file, Pace())
            words = progress_words(pace.told(note))
            self._progress.update(self._tasks[file], total=1.0, completed=note.done, stage=words)

        return show

    def finish(self, file: str, outcome: str) -> None:
        """See `View.finish`."""
        if file in self._tasks:
            task = self._tasks[file]
            self._progress.update(task, total=_LAST, completed=_LAST, stage=outcome)


class All(_Shown):
    """One bar for more files than fit on a screen."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._outcomes: Counter[str] = Counter()
        self._task = self._progress.add_task("", total=count, file=f"{count} files", stage="")

    def add(self, file: str) -> None:
        """See `View.add`."""

    def progress(self, file: str) -> None:
        """See `View.progress`."""

    def finish(self, file: str, outcome: str) -> None:
        """See `View.finish`."""
        self._outcomes[outcome] += 1
        told = ", ".join(f"{count} {name}" for name, count in sorted(self._outcomes.items()))
        self._progress.update(self._task, advance=1, stage=told)
