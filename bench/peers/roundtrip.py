"""roundtrip itself: both agents on this machine, the shares on the same disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.errors import Unavailable
from bench.peers.base import Peer

CONFIG = """\
root: {root}
pipelines:
  bench:
    match: ["*"]
    format: raw
    steps:
      - name: api
        http: {{method: POST, url: "{api}"}}
"""
ROOT = Path(__file__).resolve().parents[2]


class Roundtrip(Peer):
    """`roundtrip agent --role a` and `--role b` with default settings and a raw pipeline."""

    name = "roundtrip"

    @property
    def input(self) -> Path:
        return self.place / "outbox"

    @property
    def output(self) -> Path:
        return self.place / "inbox"

    def prepare(self) -> None:
        self._program = Path(sys.executable).parent / "roundtrip"
        if not (ROOT / "roundtrip/cli/main.py").exists() or not self._program.exists():
            raise Unavailable(f"{self._program} is not there: run scripts/setup")

    def start(self, place: Path, api: str) -> None:
        self.place, self.api = place, api
        self._config = place / "roundtrip.yaml"
        self._config.write_text(CONFIG.format(root=place, api=api))
        for role in "ba":
            self._init(role)
        self.start_agents()

    def start_agents(self) -> None:
        self.agents = [
            self.spawn(f"agent-{role}", [self._program, "agent", "--role", role, *self._options()])
            for role in "ba"
        ]

    def _options(self) -> list[str | Path]:
        return ["--config", self._config]

    def _init(self, role: str) -> None:
        argv = [self._program, "init", "--role", role, *self._options()]
        done = subprocess.run([str(part) for part in argv], capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"roundtrip init --role {role}: {done.stderr.strip()}")
