"""`roundtrip demo` as a user runs it: a real process that starts real agents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "roundtrip", "demo"]
REPOSITORY = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    """The demo's temporary folder goes below `folder`, which is also how its agents are found."""
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY)}


def agents_below(folder: Path) -> list[int]:
    """Process ids of the agents whose configuration lies below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue  # it ended meanwhile
        if b"\0agent\0" in command and os.fsencode(folder) in command:
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEMO, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder),
    )


def test_the_demo_shows_the_way_and_the_result_and_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path)
    output, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (0, "")
    for name in ("orders.csv", "flights.jsonl", "sites.json"):
        assert any(line.split()[-2:] == [name, "inbox"] for line in output.splitlines())
    assert "geo.capital" in output
    assert "Berlin" in output
    assert agents_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_keep_leaves_the_folders_and_says_where(tmp_path: Path) -> None:
    demo = start(tmp_path, "--keep")
    output, _ = demo.communicate(timeout=60)
    [folder] = tmp_path.iterdir()
    assert f"Kept in {folder}" in output
    results = {path.name for path in (folder / "hostA" / "inbox").iterdir()}
    assert {"orders.csv", "flights.jsonl", "sites.json"} <= results
    assert agents_below(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_takes_its_agents_along(tmp_path: Path, number: signal.Signals) -> None:
    demo = start(tmp_path)
    wait_for(lambda: len(agents_below(tmp_path)) == 2)
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=20)
    assert demo.returncode != 0
    assert "Traceback" not in errors
    assert agents_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_dies_is_seen_with_the_end_of_its_log(tmp_path: Path) -> None:
    demo = start(tmp_path)
    wait_for(lambda: agents_below(tmp_path))
    os.kill(agents_below(tmp_path)[0], signal.SIGKILL)
    _, errors = demo.communicate(timeout=60)
    assert demo.returncode not in (0, None)
    assert "ended with status -9" in errors
    assert "Traceback" not in errors
    assert agents_below(tmp_path) == []


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    from roundtrip.demo.api import serving

    with serving() as api:
        demo = start(tmp_path, "--port", str(api.server_address[1]))
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode != 0
    assert "can't listen on 127.0.0.1" in errors
    assert len(errors.strip().splitlines()) == 1
