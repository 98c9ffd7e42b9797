"""A whole pair whose host B hands requests to workers, and the workers as real processes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.world import REPOSITORY, Host, Program, World, visible, wait_until
from tests.queue.servers import Server

BEAT = 0.5
"""Seconds; a worker without a life sign for four of them is dead."""
PATIENCE = 40.0


class WorkerProcess(Program):
    """One `roundtrip worker` with a host B's configuration."""

    patience = PATIENCE

    def __init__(self, host: Host, log: Path, *arguments: str) -> None:
        super().__init__(log)
        self._command = [*host.command("worker"), *arguments]

    def start(self, *, ready: bool = True) -> WorkerProcess:
        """Start it; with `ready`, wait until it takes jobs."""
        before = len(self.events("ready"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPOSITORY
            )
        if ready:
            self.wait_ready(before + 1)
        return self

    def wait_ready(self, times: int) -> None:
        """Wait until it has been ready so many times."""
        wait_until(lambda: len(self.events("ready")) >= times, "the worker is ready", PATIENCE)


class QueueWorld:
    """Both agents, a broker and workers; a context manager that leaves no process behind."""

    def __init__(self, folder: Path, api: str, broker: Server | str, **b: Any) -> None:
        url = broker if isinstance(broker, str) else broker.url
        self.queue = {
            "url": url,
            "name": f"q-{folder.name}",
            "heartbeat": BEAT,
            **b.pop("queue", {}),
        }
        self.world = World(folder, api, b={"dispatch": "queue", "queue": self.queue, **b})
        self.workers: list[WorkerProcess] = []
        self.jobs = self.world.b.folder("state/queue/jobs")
        self.results = self.world.b.folder("state/queue/results")

    def worker(self, *arguments: str, ready: bool = True) -> WorkerProcess:
        """Start one more worker."""
        log = self.world.b.root / f"worker-{len(self.workers)}.log"
        made = WorkerProcess(self.world.b, log, *arguments)
        self.workers.append(made)
        return made.start(ready=ready)

    def __enter__(self) -> QueueWorld:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.end()
        self.world.__exit__(kind, error, traceback)
        if error is not None:
            print(self.log_tails())

    def wait_swept(self) -> None:
        """Wait until no name is left anywhere that should be gone."""
        self.world.wait_swept(PATIENCE)
        wait_until(
            lambda: visible(self.jobs) == visible(self.results) == [], "no job is left", PATIENCE
        )

    def log_tails(self) -> str:
        """What all processes said last."""
        tails = [self.world.log_tails()]
        for number, worker in enumerate(self.workers):
            lines = worker.log.read_text(errors="replace").splitlines()[-40:]
            tails.append("\n".join([f"--- worker {number}", *lines]))
        return "\n".join(tails)

    def defects(self) -> list[dict[str, Any]]:
        """Lines that no run should have."""
        lines = [line for worker in self.workers for line in worker.lines()]
        bad = [line for line in lines if "traceback" in line or line["event"] == "not JSON"]
        return self.world.defects() + bad
