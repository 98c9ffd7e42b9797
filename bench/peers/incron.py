"""incron and curl: a shell script started for each file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import cache
from bench.errors import Unavailable
from bench.peers.base import SCRIPTS, Peer
from bench.processes import Argv

CONFIG = """\
system_table_dir = {root}/tables
user_table_dir = {root}/users
allowed_users = {root}/allow
denied_users = {root}/deny
lockfile_dir = {root}
lockfile_name = lock
"""


class Incron(Peer):
    """incrond in the foreground with tables of its own, as Debian packages it."""

    name = "incron"

    def prepare(self) -> None:
        if os.geteuid() != 0:
            raise Unavailable("incrond reads a configuration of its own only as root")
        if not shutil.which("curl"):
            raise Unavailable("curl is missing on this machine")
        self._root = self.cache.debian("incron", ["incron"])

    def configure(self) -> None:
        root = self.place / "incron"
        for folder in ("tables", "users"):
            (root / folder).mkdir(parents=True)
        (root / "incron.conf").write_text(CONFIG.format(root=root))
        command = f"{SCRIPTS}/incron_curl.sh $@/$# {self.output} {self.api}"
        (root / "tables/bench").write_text(f"{self.input} IN_MOVED_TO {command}\n")

    def start_agents(self) -> None:
        root = self.place / "incron"
        Path(root / "lock.pid").unlink(missing_ok=True)  # a killed one leaves it behind
        argv: Argv = [self._root / "usr/sbin/incrond", "-n", "-f", root / "incron.conf"]
        self.agents = [self.spawn("incrond", argv, cache.libraries(self._root))]
