"""A RabbitMQ node with the role's own files, on a host whose name is not loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.test_roles import render
from tests.e2e.world import wait_until
from tests.queue.servers import RABBIT_SCRIPT

pytestmark = pytest.mark.needs(
    "root", "unshare", "mount", "nsenter", "ip", "ss", "epmd", "rabbitmq-server"
)

PATIENCE = 60.0
HOST = f"""
hostname elsewhere
ip link set lo up
ip address add 192.0.2.2 dev lo
mount --bind hosts /etc/hosts
epmd -address 127.0.0.1 &
exec {RABBIT_SCRIPT}
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Its first start, as the package's installation makes it, in a network of its own."""
    for name in ("rabbitmq-env.conf", "rabbitmq.conf"):
        (tmp_path / name).write_text(
            render(f"roundtrip/templates/{name}.j2", "b", roundtrip_worker_addresses=[])
        )
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n192.0.2.2 elsewhere\n")
    (tmp_path / "plugins").write_text("[].\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),  # Erlang's cookie
        "LANG": "C.UTF-8",
        "RABBITMQ_MNESIA_BASE": str(tmp_path / "data"),
        "RABBITMQ_LOG_BASE": str(tmp_path / "logs"),
        "RABBITMQ_CONFIG_FILE": str(tmp_path / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(tmp_path / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(tmp_path / "plugins"),
        "RABBITMQ_PID_FILE": str(tmp_path / "pid"),
    }
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "sh", "-euc", HOST],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    yield process
    with contextlib.suppress(ProcessLookupError):  # It ended, and had started nothing.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def listening(process: subprocess.Popen[bytes]) -> dict[int, set[str]]:
    """Which addresses each port of its network is open at."""
    ask = ["nsenter", "--net", "-t", str(process.pid), "ss", "-Hltn"]
    found: dict[int, set[str]] = {}
    for line in subprocess.run(ask, capture_output=True, text=True).stdout.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        found.setdefault(int(port), set()).add(address)
    return found


def test_it_starts_and_all_of_it_is_loopbacks_own(
    node: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    def is_up() -> bool:
        assert node.poll() is None, (tmp_path / "out").read_text()
        return 5672 in listening(node)

    wait_until(is_up, "the node listens", PATIENCE)
    found = listening(node)
    assert {4369, 25672} < found.keys(), "Erlang's own"
    assert set().union(*found.values()) <= {"127.0.0.1", "[::1]"}
