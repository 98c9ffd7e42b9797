"""Sarracenia (metpx-sr3): one flow that gathers as its watch does, with a plugin for the work.

Sarracenia's usual way is watch -> AMQP broker -> subscriber. One flow with no broker in between
is faster: so that is what is measured.
"""

from __future__ import annotations

import shutil

from bench.peers.base import SCRIPTS, Peer

CONFIG = """\
callback sr3_enrich
post_on_start True
fileEvents create
download off
sleep 0.001
batch 10000
nodupe_ttl 0
logLevel warning
"""


class Sarracenia(Peer):
    """One process, which looks for events each millisecond while busy (a watch's default: 5 s).

    More than a batch of files left over at a start would be forgotten, so the batch is large.
    """

    name = "sarracenia"
    quiet = 15.0  # its naps double while nothing happens, up to 10 s

    def prepare(self) -> None:
        self._bin = self.cache.venv("sarracenia", ["metpx-sr3==3.3.1", "requests"])

    def configure(self) -> None:
        base = self.place / "config/sr3"
        (base / "flow").mkdir(parents=True)
        (base / "plugins").mkdir()
        (base / "flow/bench.conf").write_text(CONFIG)
        shutil.copy(SCRIPTS / "sr3_enrich.py", base / "plugins")
        (base / "default.conf").write_text("")

    def start_agents(self) -> None:
        # A killed one leaves its pid file behind, and a new one refuses to start beside it.
        shutil.rmtree(self.place / "cache", ignore_errors=True)
        env = {
            "XDG_CONFIG_HOME": str(self.place / "config"),
            "XDG_CACHE_HOME": str(self.place / "cache"),
            "BENCH_IN": str(self.input),
            "BENCH_OUT": str(self.output),
            "BENCH_URL": self.api,
        }
        self.agents = [self.spawn("sr3", [self._bin / "sr3", "foreground", "flow/bench"], env)]
