"""A contestant: takes files from one folder and puts answers of the same name into another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench import processes
from bench.cache import Cache

SCRIPTS = Path(__file__).parent.parent / "scripts"


class Peer:
    """One tool, set up to do the job. Subclasses say how; the harness drives and measures.

    Agents are the processes that do the work, the ones that get killed. Support (a broker) is not
    killed, but counts in CPU and memory.
    """

    name: ClassVar[str]
    quiet: ClassVar[float] = 5.0  # seconds without a result after which nothing more is expected

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.agents: list[subprocess.Popen[bytes]] = []
        self.support: list[subprocess.Popen[bytes]] = []
        self.names: dict[int, str] = {}  # of the processes started, by pid
        self.place = Path()
        self.api = ""

    @property
    def input(self) -> Path:
        """Where files are dropped, by rename."""
        return self.place / "in"

    @property
    def output(self) -> Path:
        """Where answers appear."""
        return self.place / "out"

    def prepare(self) -> None:
        """Install what is needed. Raises Unavailable."""

    def start(self, place: Path, api: str) -> None:
        """Set up in an empty folder and start everything."""
        self.place, self.api = place, api
        self.input.mkdir()
        self.output.mkdir()
        self.configure()
        self.start_support()
        self.start_agents()

    def configure(self) -> None:
        """Write configuration files."""

    def start_support(self) -> None:
        """Start what the agents need."""

    def start_agents(self) -> None:
        """Start the processes that do the work; also again after `kill_agents`."""
        raise NotImplementedError

    def kill_agents(self) -> None:
        """kill -9 every process that does the work."""
        processes.kill(self.agents)
        self.agents = []

    def stop(self) -> None:
        """End everything."""
        processes.end(self.agents)
        processes.end(self.support)
        self.agents, self.support = [], []

    def usage(self) -> processes.Usage:
        """CPU and memory of all processes."""
        return processes.usage(self.roots())

    def roots(self) -> list[int]:
        """The process ids below which all of its processes are."""
        return [process.pid for process in (*self.agents, *self.support)]

    def dead(self) -> bool:
        """Whether a process that should run has ended."""
        return any(process.poll() is not None for process in (*self.agents, *self.support))

    def spawn(
        self, name: str, argv: processes.Argv, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one process; its output goes to `logs/NAME.log`."""
        logs = self.place / "logs"
        logs.mkdir(exist_ok=True)
        process = processes.start(argv, logs / f"{name}.log", env, self.place)
        self.names[process.pid] = name
        return process

    def last_words(self) -> str:
        """The last line that any of its processes wrote, for error messages."""
        logs = sorted((self.place / "logs").glob("*.log"), key=os.path.getmtime)
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line.strip()), "nothing was logged")
