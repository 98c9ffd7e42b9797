"""A folder, a command that writes down each of its runs, and real `roundtrip watch` processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds a test waits for what must come."""
WATCH = (sys.executable, "-m", "roundtrip", "watch")


def until(done: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < end, f"waited for: {what}"
        time.sleep(0.02)
    return found


class Scene:
    """A watched folder below `root`, and everything about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "incoming"
        self.state = root / "state"
        self.dead = root / "dead"
        self.log = root / "runs"
        self.folder.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def script(self, body: str = "") -> list[str]:
        """A command that writes the file's path down (ended by a zero byte), then does `body`."""
        script = f'printf "%s\\0" "$1" >> "$2"; {body}'
        return ["--exec", "sh", "-c", script, "sh", "{path}", str(self.log)]

    def start(self, *options: str | Path, under: Sequence[str] = (), **more: Any) -> Any:
        """Start a watch; it is ended with the test."""
        words = [*under, *WATCH, str(self.folder), *self._state(options), *map(str, options)]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        process = subprocess.Popen(words, cwd=self.root, **more)
        self.processes.append(process)
        return process

    def run(self, *options: str | Path, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a watch to its end."""
        process = self.start(*options, **more)
        out, err = process.communicate(timeout=PATIENCE)
        assert b"Traceback" not in err, err.decode()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _state(self, options: Sequence[object]) -> list[str]:
        given = [option for option in options if option in ("--exec", "--", "--list-failed")]
        return ["--state", str(self.state)] if given and "--state" not in options else []

    def put(self, name: str | bytes, content: str = "content") -> Path:
        """A whole file, renamed into the folder."""
        part = self.root / "part"
        part.write_text(content)
        target = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        os.rename(part, target)
        return Path(os.fsdecode(target))

    def runs(self) -> Counter[str]:
        """How often the command was run for each path, relative to the folder."""
        if not self.log.exists():
            return Counter()
        paths = os.fsdecode(self.log.read_bytes()).split("\0")[:-1]
        return Counter(os.path.relpath(path, self.folder) for path in paths)

    def ran(self, *names: str) -> None:
        """Wait until each was run, then see that nothing else was, and none twice."""
        until(lambda: set(names) <= set(self.runs()), f"runs of {names}, not only {self.runs()}")
        assert self.runs() == Counter(names)

    def journal(self) -> dict[str, dict[str, Any]]:
        """What the journal says of each path."""
        # What follows the last newline is being written just now.
        lines = (self.state / "journal").read_text().split("\n")[1:-1]
        found: dict[str, dict[str, Any]] = {}
        for entry in map(json.loads, lines):
            if "path" in entry:
                found[entry["path"]] = entry
            elif found.get(entry["forgotten"], entry)["run"] == entry["run"]:
                found.pop(entry["forgotten"], None)
        return found

    def remembered(self, *names: str) -> None:
        """Wait until the journal has them and no claim is left."""
        until(
            lambda: set(names) <= set(self.journal()) and not os.listdir(self.state / "claims"),
            f"{names} in the journal",
        )

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> bytes:
        """End a watch and return what it said on stderr."""
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE)[1] or b""
        assert b"Traceback" not in err, err.decode()
        return err

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._end_runs()

    def _end_runs(self) -> None:
        """Runs outlive their watch; those of a test that failed must not outlive the test."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and self._is_ours((entry / "cmdline").read_bytes()):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _is_ours(self, command_line: bytes) -> bool:
        return os.fsencode(self.log) in command_line or os.fsencode(self.state) in command_line


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()
