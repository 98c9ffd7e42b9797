"""What `send --wait` shows on a terminal: how far each file is, and for how long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_STAGES = ("submitted", "pending", "opening", "requested", "answering", "answered", "delivered")


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
        task = self._progress.add_task(
            "", total=len(_STAGES) - 1, file=_printable(file), stage="submitted"
        )
        self._tasks[file] = task

        def show(stage: str) -> None:
            done = _STAGES.index(stage) if stage in _STAGES else None
            self._progress.update(task, completed=done, stage=stage)

        return show

    def finish(self, file: str, outcome: str) -> None:
        """The file's bar is full."""
        self._progress.update(self._tasks[file], completed=len(_STAGES) - 1, stage=outcome)


def _printable(name: str) -> str:
    """The name without anything that could talk to a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in name)
