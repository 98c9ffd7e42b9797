"""Real brokers for tests: each with its own folder, ports and names, on loopback only.

They are killed and started again in the middle of things, and leave no process behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

STARTING = 90.0
"""Seconds that a server is given to start on a busy machine; RabbitMQ takes ten on an idle one."""


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """A broker; its data stay from one life to the next."""

    url = ""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        """With `tls` nothing else is spoken; certificate and key are `folder`'s server.pem."""
        self.folder = folder
        self.tls = tls
        self.certificate = folder / "server.pem"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """What it needs in its environment."""
        return {"PATH": os.environ["PATH"]}

    def is_up(self) -> bool:
        """Whether it takes connections and answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_up()

    def launch(self) -> None:
        """Start it."""
        assert self._process is None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_up(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + STARTING
        while not self.is_up():
            assert self._process is not None
            assert self._process.poll() is None, self.tail()
            assert time.monotonic() < deadline, f"not within {STARTING} s:\n{self.tail()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL it and all that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def end(self) -> None:
        """Leave nothing running."""
        self.kill()

    def tail(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def _said(self, question: bytes, answer: bytes) -> bool:
        """Whether the port answers a question as expected."""
        try:
            with self._line() as line:
                line.settimeout(2.0)
                line.sendall(question)
                return line.recv(64).startswith(answer)
        except OSError:
            return False

    def _line(self) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=1.0)
        if not self.tls:
            return line
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(line, server_hostname="127.0.0.1")


class Redis(Server):
    """`redis-server`, which keeps what it has on disk unless `keeps` is false."""

    def __init__(self, folder: Path, *, keeps: bool = True, tls: bool = False) -> None:
        super().__init__(folder, tls=tls)
        self._keeps = keeps
        self.url = f"{'rediss' if tls else 'redis'}://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """See `Server`."""
        keeps = ["--appendonly", "yes", "--appendfsync", "always"] if self._keeps else []
        port = ["--port", str(self.port)]
        if self.tls:
            pem = str(self.certificate)
            port = [
                "--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no",
                "--tls-cert-file", pem, "--tls-key-file", pem,
            ]  # fmt: skip
        return [
            "redis-server", *port, "--bind", "127.0.0.1", "--save", "",
            "--dir", str(self.folder), *keeps,
        ]  # fmt: skip

    def is_up(self) -> bool:
        """See `Server`."""
        return self._said(b"PING\r\n", b"+PONG")


class Nats(Server):
    """`nats-server` with JetStream, whose streams are files."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        super().__init__(folder, tls=tls)
        self.url = f"{'tls' if tls else 'nats'}://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See `Server`."""
        return [
            "nats-server", "--addr", "127.0.0.1", "--port", str(self.port),
            "--jetstream", "--store_dir", str(self.folder), *self._secure(),
        ]  # fmt: skip

    def _secure(self) -> list[str]:
        pem = str(self.certificate)
        return ["--tls", "--tlscert", pem, "--tlskey", pem] if self.tls else []

    def is_up(self) -> bool:
        """See `Server`: a NATS server speaks first, and in the clear."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as line:
                line.settimeout(2.0)
                return line.recv(64).startswith(b"INFO ")
        except OSError:
            return False


RABBIT_SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's /usr/sbin/rabbitmq-server changes the user and the folder; this is what it runs."""


class Rabbit(Server):
    """`rabbitmq-server` with an Erlang port mapper of its own."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        super().__init__(folder, tls=tls)
        self._mapper_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self._dist_port = free_port()
        self.url = f"{'amqps' if tls else 'amqp'}://guest:guest@127.0.0.1:{self.port}/"
        listener = f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
        if tls:
            listener = (
                f"listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{self.port}\n"
                f"ssl_options.certfile = {self.certificate}\n"
                f"ssl_options.keyfile = {self.certificate}\n"
            )
        (folder / "plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            f"{listener}"
            "disk_free_limit.absolute = 10MB\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n"
        )

    def command(self) -> list[str]:
        """See `Server`."""
        return [RABBIT_SCRIPT if os.path.exists(RABBIT_SCRIPT) else "rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        """See `Server`: rabbitmq-server(8), epmd(1)."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),  # the Erlang cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # Two schedulers and no busy waiting: a test is no reason to heat a core.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }

    def launch(self) -> None:
        """See `Server`."""
        if self._mapper is None:
            epmd = shutil.which("epmd") or "epmd"
            self._mapper = subprocess.Popen(
                [epmd, "-port", str(self._mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        super().launch()

    def is_up(self) -> bool:
        """See `Server`: the greeting of AMQP 0-9-1 is a frame of type 1 (method) on channel 0."""
        return self._said(b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")

    def end(self) -> None:
        """See `Server`."""
        super().end()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            self._mapper = None


def started(make: Callable[[Path], Server], folder: Path) -> Server:
    """A server that answers."""
    server = make(folder)
    server.start()
    return server
