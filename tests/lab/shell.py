"""Running programs, and telling what they said when they fail."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path


class LabError(Exception):
    """The lab can't do what was asked; the message is for whoever asked."""


def run(
    *words: str | Path, log: Path | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end; returns what it wrote, which goes to `log` as well, as it comes.

    Raises:
        LabError: it failed; with its last lines.
    """
    with log.open("a+b") if log else tempfile.TemporaryFile() as file:
        begin = file.seek(0, os.SEEK_END)
        done = subprocess.run(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **(variables or {})},
            check=False,
        )
        file.seek(begin)
        told = file.read().decode(errors="replace")
    if done.returncode:
        last = "\n".join(told.strip().splitlines()[-15:])
        raise LabError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{last}")
    return told


def start(*words: str | Path, log: Path, variables: Mapping[str, str]) -> int:
    """Start a program that lives on when we end; returns its process id."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    return process.pid
