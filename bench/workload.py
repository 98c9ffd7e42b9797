"""The files that go in and the answer that must come out, byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path

SIZE = 2048


def _padded(fields: dict[str, object]) -> bytes:
    """A JSON object of exactly SIZE bytes."""
    bare = len(json.dumps({**fields, "text": ""}))
    return json.dumps({**fields, "text": "x" * (SIZE - bare)}).encode()


ANSWER = _padded({"status": "enriched", "score": 17})


def request(number: int) -> bytes:
    """The content of input file `number`: no two are alike."""
    return _padded({"number": number, "kind": "order"})


def stage(folder: Path, names: list[str]) -> None:
    """Write input files beside the input folder, so that a rename is all that is left to do."""
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(request(number))


def drop(staged: Path, folder: Path, name: str) -> None:
    """Hand one staged file in, by rename."""
    os.rename(staged / name, folder / name)


def correct(path: Path) -> bool:
    """Whether a result is there and is the answer, byte for byte."""
    try:
        return path.read_bytes() == ANSWER
    except FileNotFoundError:
        return False
