"""The API that everyone calls: nginx on loopback, which answers each POST with the same body."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from bench import processes
from bench.cache import Cache
from bench.errors import Unavailable
from bench.workload import ANSWER

CONFIG = """\
daemon off;
master_process off;
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    client_body_buffer_size 16k;
    client_max_body_size 16m;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(cache: Cache) -> Path:
    """nginx of this machine, or Debian's unpacked into the cache."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return Path(found) if found else cache.debian("nginx", ["nginx"]) / "usr/sbin/nginx"


class Api:
    """nginx with a folder, a port and a configuration of its own."""

    def __init__(self, cache: Cache, root: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._root = root
        self._program = program(cache)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Api:
        self._root.mkdir(parents=True)
        config = self._root / "nginx.conf"
        config.write_text(CONFIG.format(root=self._root, port=self.port, answer=ANSWER.decode()))
        argv: processes.Argv = [
            self._program,
            "-p",
            self._root,
            "-c",
            config,
            "-e",
            self._root / "error.log",
        ]
        self._process = processes.start(argv, self._root / "out.log")
        self._await()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process:
            processes.end([self._process])

    def cpu(self) -> float:
        """CPU seconds nginx has used so far."""
        return processes.usage([self._process.pid]).cpu if self._process else 0.0

    def _await(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise Unavailable(f"nginx doesn't listen; see {self._root}/out.log")
