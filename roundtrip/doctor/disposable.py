"""Processes that look at what may hang: each is given up when nothing more comes from it.

A thread stuck in the kernel can't be ended, so that part of doctor never touches a share itself. A
process can: SIGKILL ends a wait for NFS or FUSE, and where not even that helps, nobody waits on.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import roundtrip

PATIENCE = 5.0
"""Seconds without a word after which a process is given up."""

_LAST_WAIT = 0.5  # seconds for a process to end by itself, or once it was killed
_READ_SIZE = 64 * 1024


class Facts(dict[str, Any]):
    """What a process told, by name.

    `doing` is what it did last; `hung` is the same if it was given up. The fact `failed` says why
    it ended early.
    """

    hung: str | None = None
    doing: str = "starting"


def gather(tasks: Mapping[str, dict[str, Any]], patience: float = PATIENCE) -> dict[str, Facts]:
    """Run `roundtrip.doctor.probe` for each task, all at once; returns their facts by task.

    `patience` is how many seconds one may say nothing before it is given up.
    """
    running = {name: _Running(task) for name, task in tasks.items()}
    try:
        with selectors.DefaultSelector() as selector:
            for each in running.values():
                selector.register(each.output, selectors.EVENT_READ, each)
            _listen(selector, patience)
    finally:
        for each in running.values():
            each.end()
    return {name: each.facts for name, each in running.items()}


def _listen(selector: selectors.BaseSelector, patience: float) -> None:
    while waited_for := [key.data for key in selector.get_map().values()]:
        next_limit = min(each.heard for each in waited_for) + patience
        for key, _ in selector.select(max(0.0, next_limit - time.monotonic())):
            if not key.data.hear():
                selector.unregister(key.fileobj)
        for each in waited_for:
            if time.monotonic() - each.heard >= patience and each.output in selector.get_map():
                each.facts.hung = each.facts.doing
                selector.unregister(each.output)


class _Running:
    """One process, what it said so far, and when it said something last."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.facts = Facts()
        self.heard = time.monotonic()
        self._rest = b""
        package = str(Path(roundtrip.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            # -P: what lies in the current folder must not be imported
            [sys.executable, "-P", "-m", "roundtrip.doctor.probe", json.dumps(task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout

    def hear(self) -> bool:
        """Take in what has come; False once nothing more will."""
        piece = os.read(self.output.fileno(), _READ_SIZE)
        self.heard = time.monotonic()
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "failed" in told:
                told["failed"] = f"while {self.facts.doing}: {told['failed']}"
            self.facts.doing = told.pop("doing", self.facts.doing)
            self.facts.update(told)
        return bool(piece)

    def end(self) -> None:
        """See to it that the process is gone, as far as that is possible."""
        self.output.close()
        if self.facts.hung is None:
            with suppress(subprocess.TimeoutExpired):  # killed below
                if self._process.wait(_LAST_WAIT):
                    self.facts.setdefault("failed", f"while {self.facts.doing}")
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nobody can end it
            self._process.wait(_LAST_WAIT)
