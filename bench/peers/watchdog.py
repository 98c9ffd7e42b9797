"""watchdog and requests: the script that people write today."""

from __future__ import annotations

from bench.peers.base import SCRIPTS, Peer
from bench.processes import Argv


class Watchdog(Peer):
    """One process; see bench/scripts/watchdog_requests.py."""

    name = "watchdog"
    title = "watchdog + requests"

    def prepare(self) -> None:
        self._bin = self.cache.venv("watchdog", ["watchdog==6.0.0", "requests"])

    def start_agents(self) -> None:
        script = SCRIPTS / "watchdog_requests.py"
        argv: Argv = [self._bin / "python", script, self.input, self.output, self.api]
        self.agents = [self.spawn("watchdog", argv)]
