"""The lab's network and its end, without guests: two processes stand for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.names import REPOSITORY
from tests.processes import lives

pytestmark = pytest.mark.needs("root", "ip", "bridge", "nsenter", "unshare")

_BEGIN = """
from pathlib import Path
from tests.lab import network
network.make(("a", "b"))
network.make(("a", "b"))
alone = ("unshare", "--pid", "--fork", "--kill-child=KILL", "sleep")
print(network.launch(*alone, "1000", log=Path("/dev/null"), variables={}))
network.cut()
network.heal()
"""
_END = """
from tests.lab.command import main
raise SystemExit(main(["down"]))
"""


def _lab(name: str, program: str) -> str:
    variables = {**os.environ, "LAB_NAME": name}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=variables, cwd=REPOSITORY, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _sleepers(namespace: Path) -> int:
    words = ["ip", "netns", "pids", namespace.name]
    return len(subprocess.run(words, capture_output=True, check=False).stdout.split())


def test_down_ends_and_removes_what_others_began_and_nobody_remembers() -> None:
    name = f"test{os.getpid()}"
    namespace = Path(f"/run/netns/roundtrip-lab-{name}")
    try:
        pid = int(_lab(name, _BEGIN))
        assert _sleepers(namespace) == 2  # unshare, and who sleeps
    finally:
        _lab(name, _END)
    assert not namespace.exists()
    assert not lives(pid)


def test_down_is_done_twice_without_a_complaint() -> None:
    name = f"none{os.getpid()}"
    _lab(name, _END)
    _lab(name, _END)


def test_a_command_for_a_lab_that_is_not_up_says_so_in_one_line() -> None:
    words = [sys.executable, "-m", "tests.lab.command", "cut"]
    variables = {**os.environ, "LAB_NAME": f"none{os.getpid()}"}
    done = subprocess.run(words, env=variables, cwd=REPOSITORY, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "scripts/lab: there is no lab; make one with scripts/lab up\n"
