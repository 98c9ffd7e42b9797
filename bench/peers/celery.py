"""Celery with Redis: a feeder turns files into tasks, workers do them."""

from __future__ import annotations

import time
from pathlib import Path

from bench import cache
from bench.api import free_port
from bench.peers.base import SCRIPTS, Peer

REDIS = """\
bind 127.0.0.1
port {port}
dir {root}
save ""
appendonly yes
appendfsync everysec
"""
PACKAGES = ["celery[redis]==5.6.0", "requests", "inotify_simple"]


class Celery(Peer):
    """Two prefork workers, acknowledgement after the work, tasks kept by Redis."""

    name = "celery"
    quiet = 25.0  # the visibility timeout, and Celery's interval of looking for what exceeded it

    def prepare(self) -> None:
        self._bin = self.cache.venv("celery", PACKAGES)
        self._redis = self.cache.debian("redis", ["redis-server"])

    def configure(self) -> None:
        self._port = free_port()
        (self.place / "redis").mkdir()
        text = REDIS.format(port=self._port, root=self.place / "redis")
        (self.place / "redis/redis.conf").write_text(text)

    def start_support(self) -> None:
        argv = [self._redis / "usr/bin/redis-server", self.place / "redis/redis.conf"]
        self.support = [self.spawn("redis", argv, cache.libraries(self._redis))]
        time.sleep(0.3)  # both clients try again by themselves if it is not there yet

    def start_agents(self) -> None:
        env = {
            "BENCH_REDIS": f"redis://127.0.0.1:{self._port}/0",
            "BENCH_IN": str(self.input),
            "BENCH_OUT": str(self.output),
            "BENCH_URL": self.api,
            "PYTHONPATH": str(SCRIPTS),
        }
        options = "--pool prefork --concurrency 2 --loglevel warning --without-gossip"
        more = "--without-mingle --without-heartbeat -O fair"
        app: list[str | Path] = [self._bin / "celery", "--app", "celery_tasks", "worker"]
        self.agents = [
            self.spawn("worker", [*app, *options.split(), *more.split()], env),
            self.spawn("feeder", [self._bin / "python", SCRIPTS / "celery_feeder.py"], env),
        ]
