"""Two hosts as folders, their agents as real processes, and waiting for what these bring about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds after which something that should happen at once is taken not to happen."""

_SWEPT_LATER = ("submit", "tickets", "outcomes")
"""Programs may be writing in these, so an agent sweeps in-flight names there when they are old."""

_LOOK = 0.005
_MOMENT = 0.1
_TAIL = 40


def wait_until(
    condition: Callable[[], Any], what: str, seconds: float = PATIENCE, pause: float = _LOOK
) -> Any:
    """Wait until `condition` holds, looking every `pause` seconds; returns what it returned.

    Raises:
        AssertionError: it still doesn't after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return found


def visible(folder: Path) -> list[str]:
    """The names in a folder that readers don't ignore; none if it isn't there."""
    return sorted(name for name in _listed(folder) if not name.startswith("."))


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _parsed(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        found = {"event": "not JSON", "line": line}
    return found


class Program:
    """A process of roundtrip's that can be started again, and its log of JSON lines."""

    patience = PATIENCE
    """Seconds that it is given to stop."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running process's number."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL it."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self, seconds: float | None = None) -> int:
        """SIGTERM it; returns its exit status."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(seconds or self.patience)
        self.process = None
        return code

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.process = None

    def lines(self) -> list[dict[str, Any]]:
        """Its log, from all its lives. A killed one may have left half a line."""
        text = self.log.read_text() if self.log.exists() else ""
        return [_parsed(line) for line in text.splitlines()]

    def events(self, event: str, exchange: str | None = None) -> list[dict[str, Any]]:
        """The log's lines of one kind, of one exchange if it is named."""
        return [
            line
            for line in self.lines()
            if line["event"] == event and exchange in (None, line.get("exchange"))
        ]

    def log_tail(self) -> str:
        """The last lines of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_TAIL:])


class Host(Program):
    """One side: its folder, its configuration and its agent."""

    def __init__(self, role: str, root: Path, settings: dict[str, Any]) -> None:
        super().__init__(root / "agent.log")
        self.role = role
        self.root = root
        self.config = root / "roundtrip.yaml"
        self._log_start = 0
        root.mkdir(parents=True, exist_ok=True)
        self.configure(settings)

    def configure(self, settings: dict[str, Any]) -> None:
        """Write the configuration; JSON is YAML too."""
        self.config.write_text(json.dumps({"role": self.role, **settings}, indent=1))

    def folder(self, name: str) -> Path:
        """One of the host's folders, such as `inbox` or `state/pending`."""
        return self.root / name

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of `roundtrip <arguments>` for this host."""
        first, *rest = map(str, arguments)
        return [sys.executable, "-m", "roundtrip", first, "--config", str(self.config), *rest]

    def run(
        self, *arguments: str | Path, stdin: bytes = b"", seconds: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command of `roundtrip` to its end."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            timeout=seconds,
            check=False,
            cwd=REPOSITORY,
        )

    def start(self, *, ready: bool = True, under: tuple[str, ...] = ()) -> None:
        """Start the agent, `under` another program if that is given; with `ready`, wait for it."""
        assert self.process is None, f"agent {self.role} runs already"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*under, *self.command("agent")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=REPOSITORY,
            )  # fmt: skip
        if ready:
            self.wait_ready()

    def wait_ready(self, seconds: float = PATIENCE) -> None:
        """Wait until the agent that was started last is ready."""
        wait_until(self._is_ready, f"agent {self.role} is ready", seconds)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"agent {self.role} ended: {self.process.returncode}"
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return b'"event": "ready"' in log.read()


class World:
    """Host A and host B below one folder; each one's share is the other one's "mount"."""

    def __init__(
        self,
        folder: Path,
        api: str,
        *,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        shares_a = {"unenriched": "../hostB/Unenriched", "enriched": "Enriched"}
        shares_b = {"unenriched": "Unenriched", "enriched": "../hostA/Enriched"}
        self.a = Host("a", folder / "hostA", {"shares": shares_a, **(a or {})})
        self.settings_b = {"shares": shares_b, "pipelines": pipelines(api), **(b or {})}
        self.b = Host("b", folder / "hostB", self.settings_b)
        self.unenriched = self.b.folder("Unenriched")
        self.enriched = self.a.folder("Enriched")
        self.outbox, self.inbox = self.a.folder("outbox"), self.a.folder("inbox")
        self.failed = self.a.folder("failed")
        for host in (self.b, self.a):
            done = host.run("init")
            assert done.returncode == 0, done.stderr.decode()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.a.end()
        self.b.end()

    def start(self) -> None:
        """Start both agents at once and wait until they are ready."""
        for host in (self.a, self.b):
            host.start(ready=False)
        for host in (self.a, self.b):
            host.wait_ready()

    def drop(self, name: str, content: bytes) -> None:
        """Hand a file in as a careful application does: by rename into the outbox."""
        part = self.outbox / f".{Path(name).name}.tmp"
        part.write_bytes(content)
        part.rename(self.outbox / name)

    def result(self, name: str, seconds: float = PATIENCE) -> bytes:
        """Wait for a file in the inbox; returns its content."""
        path = self.inbox / name
        wait_until(path.exists, f"inbox/{name}", seconds)
        return path.read_bytes()

    def wait_closed(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing is under way any more."""
        wait_until(lambda: not self.under_way(), "nothing is under way", seconds)

    def under_way(self) -> dict[str, list[str]]:
        """What lies on the shares and in A's folders of open exchanges."""
        own = ("pending", "collected", "closing", "submit", "tickets")
        folders = {"Unenriched": self.unenriched, "Enriched": self.enriched}
        folders |= {f"state/{name}": self.a.folder(f"state/{name}") for name in own}
        return {name: found for name, path in folders.items() if (found := visible(path))}

    def wait_swept(self, seconds: float = PATIENCE) -> None:
        """Wait until no name is left anywhere that should be gone."""
        deadline = time.monotonic() + seconds
        # One look decides: at the next, a living agent may be renewing its file of health.
        while left := self.leftovers():
            assert time.monotonic() < deadline, f"left after {seconds:g} s: {left}"
            time.sleep(_LOOK)

    def leftovers(self) -> dict[str, list[str]]:
        """Every name that should be gone once all exchanges are closed, hidden ones too."""
        found = self.under_way()
        found["state/kept"] = visible(self.b.folder("state/kept"))
        if hidden := self._hidden():
            # A living agent renews its file of health: what is in flight has gone a moment later.
            time.sleep(_MOMENT)
            hidden &= self._hidden()
        found["hidden"] = sorted(hidden)
        return {name: names for name, names in found.items() if names}

    def _hidden(self) -> set[str]:
        return {
            str(path.relative_to(self.folder))
            for path in self.folder.rglob(".*")
            if path.name != ".roundtrip" and path.parent.name not in _SWEPT_LATER
        }

    def defects(self) -> list[dict[str, Any]]:
        """The logs' lines that no run should have."""
        lines = self.a.lines() + self.b.lines()
        return [line for line in lines if "traceback" in line or line["event"] == "not JSON"]

    def log_tails(self) -> str:
        """What both agents said last, for a failed test's report."""
        return "\n".join(f"--- agent {host.role}\n{host.log_tail()}" for host in (self.a, self.b))


def pipelines(api: str) -> dict[str, Any]:
    """B's pipelines: look-ups for records, and two that send the whole file."""
    retry = {"attempts": 5, "max_delay": 1.0}

    def whole(action: str) -> dict[str, Any]:
        url = f"{api}/{action}?name={{name}}"
        return {"name": action, "http": {"method": "POST", "url": url, "idempotent": True}}

    item = {
        "name": "item",
        "http": {"url": f"{api}/item/{{key}}"},
        "select": {"label": "label", "size": "size"},
        "retry": retry,
    }
    return {
        "items": {"match": ["*.csv", "*.json", "*.jsonl"], "steps": [item]},
        "turn": {"match": ["*.bin"], "format": "raw", "steps": [whole("turn")]},
        "echo": {"match": ["*.raw"], "format": "raw", "steps": [whole("echo")]},
    }
