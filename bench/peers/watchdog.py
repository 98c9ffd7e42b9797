"""watchdog and requests: the script that people write today."""

from __future__ import annotations

from typing import ClassVar

from bench.peers.base import SCRIPTS, Peer
from bench.processes import Argv


class Watchdog(Peer):
    """One process; see bench/scripts/watchdog_requests.py."""

    name = "watchdog"
    options: ClassVar[list[str]] = []

    def prepare(self) -> None:
        self._bin = self.cache.venv("watchdog", ["watchdog==6.0.0", "requests"])

    def start_agents(self) -> None:
        script = SCRIPTS / "watchdog_requests.py"
        where: Argv = [self.input, self.output, self.api]
        argv: Argv = [self._bin / "python", script, *where, *self.options]
        self.agents = [self.spawn("watchdog", argv)]


class DurableWatchdog(Watchdog):
    """The same with an fsync of result and folder before the input goes, as roundtrip has it."""

    name = "watchdog-fsync"
    options: ClassVar[list[str]] = ["fsync"]
