"""Work in threads ends soon after nobody waits for it: a program that stops isn't held up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roundtrip.shares.posix import PosixFolder

REPOSITORY = Path(__file__).parents[2]

STOPPED = """
import asyncio, os, sys, time
from pathlib import Path
from roundtrip.shares.posix import PosixFolder

async def main():
    folder = PosixFolder(Path(sys.argv[1]))
    with await folder.open("huge") as payload:
        match sys.argv[2]:
            case "digest":
                work = payload.digest()
            case "put":
                work = folder.put("n", payload.source)
            case "write":
                work = folder.write("n", payload.source)
        task = asyncio.create_task(work)
        while sys.argv[2] != "digest" and len(await folder.names()) == 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        print("cancelled", flush=True)

asyncio.run(main())  # Waits for its threads.
"""


@pytest.mark.parametrize("what", ["digest", "put", "write"])
def test_a_huge_payload_does_not_hold_up_the_end_of_a_program(what: str, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # hours of hashing
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path), what],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "cancelled\n", done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began < 30
    assert os.listdir(tmp_path) == ["huge"]


async def test_a_copy_that_was_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    folder = PosixFolder(tmp_path)
    with await folder.open("huge") as payload:
        task = asyncio.create_task(folder.put("n", payload.source))
        while len(await folder.names()) == 1:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline = time.monotonic() + 30
        while await folder.names() != ["huge"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
