"""One agent at a time: a lock of real processes, dropped by the kernel when its holder dies."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.errors import BusyError, ExitCode, ShareError
from roundtrip.shares.lock import AgentLock, holder_of

Start = Callable[..., "subprocess.Popen[str]"]

HOLDER = """
import sys
from pathlib import Path
from roundtrip.errors import BusyError
from roundtrip.shares.lock import AgentLock
lock = AgentLock(Path(sys.argv[1]))
try:
    lock.acquire()
except BusyError as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    sys.stdin.readline()
    lock.release()
    print("released", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent-a.lock"


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def test_a_second_process_is_told_who_holds_the_lock(path: Path, python: Start) -> None:
    holder = python(HOLDER, path)
    assert said(holder) == "held"
    with pytest.raises(BusyError) as refused:
        AgentLock(path).acquire()
    assert refused.value.exit_code is ExitCode.BUSY
    text = str(refused.value)
    assert text.startswith(f"{path.parent}: another agent works here already (")
    assert text.endswith("); stop that one first")
    told = json.loads(text[text.index("{") : text.index("}") + 1])
    assert (told["pid"], told["host"]) == (holder.pid, socket.gethostname())
    assert said(python(HOLDER, path)) == text


def test_a_holder_that_is_killed_leaves_the_lock_to_the_next(path: Path, python: Start) -> None:
    holder = python(HOLDER, path)
    assert said(holder) == "held"
    holder.kill()
    holder.wait()
    lock = AgentLock(path)
    lock.acquire()
    told = json.loads(holder_of(path) or "")
    assert told["pid"] == os.getpid()  # and the text of the dead one is gone
    lock.release()


def test_a_released_lock_can_be_taken_while_its_last_holder_lives(
    path: Path, python: Start
) -> None:
    holder = python(HOLDER, path)
    assert said(holder) == "held"
    assert holder.stdin
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert said(holder) == "released"
    AgentLock(path).acquire()
    assert path.exists()


def test_nobody_holds_a_lock_that_was_never_taken_or_was_given_back(path: Path) -> None:
    assert holder_of(path) is None
    lock = AgentLock(path)
    lock.acquire()
    assert holder_of(path) is not None
    lock.release()
    lock.release()
    assert holder_of(path) is None


def test_asking_who_holds_the_lock_does_not_take_it(path: Path) -> None:
    path.touch()
    assert holder_of(path) is None
    AgentLock(path).acquire()


def test_a_holder_that_has_not_said_who_it_is_yet_is_unknown(path: Path, python: Start) -> None:
    holder = python(HOLDER, path)
    assert said(holder) == "held"
    path.write_text("")
    assert holder_of(path) == "unknown"
    with pytest.raises(BusyError, match=r"already \(unknown\); stop"):
        AgentLock(path).acquire()


def test_a_lock_in_a_folder_that_is_not_there_is_a_share_error(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "agent-a.lock"
    with pytest.raises(ShareError) as refused:
        AgentLock(path).acquire()
    assert str(refused.value) == f"{path}: can't lock: No such file or directory"
