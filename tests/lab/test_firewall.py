"""The firewall's rules as the playbook writes them, in network namespaces: who reaches whom.

Not in the lab's guests, whose kernels can't load them (tests/lab/deploy.py).
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.names import REPOSITORY

_TEMPLATE = REPOSITORY / "ansible/roles/firewall/templates/nftables.conf.j2"
_ADDRESSES = {"a": "10.204.0.1", "b": "10.204.0.2", "worker": "10.204.0.4", "other": "10.204.0.3"}
_SHARE, _SSH, _MAIL, _BROKER = 2049, 22, 587, 6379
_numbers = itertools.count()
_LISTEN = """
import socket, threading
for port in (2049, 22, 587, 6379, 9000):
    server = socket.create_server(("", port))
    threading.Thread(target=lambda s=server: [s.accept() for _ in iter(int, 1)]).start()
print("ready", flush=True)
"""
_CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5).close()
"""

pytestmark = pytest.mark.needs("root", "ip", "nft")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Hosts:
    """Hosts a, b and one of workers at one switch, with the rules, and another one without."""

    def __init__(self, folder: Path) -> None:
        self._mark = f"rtf{os.getpid()}x{next(_numbers)}"
        self._listeners: list[subprocess.Popen[bytes]] = []
        self._folder = folder

    def _name(self, host: str) -> str:
        return f"{self._mark}{host}"

    def make(self) -> None:
        """Namespaces, switch, rules, and who listens."""
        switch = self._name("s")
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "br0", "up")
        for host, address in _ADDRESSES.items():
            name = self._name(host)
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", "eth0", "netns", name, "type", "veth",
                 "peer", "name", f"v{host}", "netns", switch)  # fmt: skip
            _run("ip", "-n", switch, "link", "set", f"v{host}", "master", "br0", "up")
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", name, "link", "set", device, "up")
            if host != "other":
                self._load(host)
            self._listen(name)

    def _load(self, host: str) -> None:
        rules = self._folder / host
        rules.write_text(_rules(host))
        _run("ip", "netns", "exec", self._name(host), "nft", "-f", str(rules))

    def _listen(self, name: str) -> None:
        inside = ["ip", "netns", "exec", name, "python3", "-c", _LISTEN]
        process = subprocess.Popen(inside, stdout=subprocess.PIPE)
        self._listeners.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def reaches(self, host: str, to: str, port: int) -> bool:
        """Whether a connection is made."""
        inside = ["ip", "netns", "exec", self._name(host), "python3", "-c", _CONNECT]
        words = [*inside, _ADDRESSES[to], str(port)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """End and remove everything."""
        for process in self._listeners:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for host in (*_ADDRESSES, "s"):
            if Path("/run/netns", self._name(host)).exists():
                _run("ip", "netns", "delete", self._name(host))


def _rules(host: str) -> str:
    jinja2 = pytest.importorskip("jinja2", reason="needs Ansible's template language")
    peer = "a" if host == "b" else "b"
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    text: str = environment.from_string(_TEMPLATE.read_text()).render(
        roundtrip_role="a" if host == "a" else "b", roundtrip_is_worker=host == "worker",
        roundtrip_worker_addresses=[_ADDRESSES["worker"]] if host == "b" else [],
        firewall_worker_ports=f"{_SHARE}, {_BROKER}",
        roundtrip_peer_address=_ADDRESSES[peer], firewall_family="ip",
        firewall_ports=_SHARE, firewall_admin_port=_SSH, roundtrip_metrics_listen="",
        firewall_admin_sources=[_ADDRESSES["other"]], roundtrip_metrics_sources=[],
        firewall_allow_in=[], firewall_allow_out=[],
        roundtrip_destinations=[{"address": _ADDRESSES["other"], "port": _MAIL}],
    )  # fmt: skip
    return text


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("firewall"))
    try:
        made.make()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("host", "to", "port"),
    [("a", "b", _SHARE), ("b", "a", _SHARE), ("other", "a", _SSH), ("other", "b", _SSH),
     ("b", "other", 9000), ("a", "other", _MAIL), ("worker", "b", _SHARE), ("worker", "b", _BROKER),
     ("other", "worker", _SSH), ("worker", "other", 9000)],
)  # fmt: skip
def test_the_share_the_queue_the_administrator_and_host_bs_way_out_are_open(
    hosts: Hosts, host: str, to: str, port: int
) -> None:
    assert hosts.reaches(host, to, port)


@pytest.mark.parametrize(
    ("host", "to", "port"),
    [("a", "other", 9000), ("a", "other", _SSH), ("a", "b", _SSH), ("a", "b", 9000),
     ("a", "b", _MAIL), ("b", "a", _SSH), ("b", "a", 9000), ("other", "a", _SHARE),
     ("other", "b", _SHARE), ("other", "a", 9000), ("worker", "b", 9000), ("worker", "a", _SHARE),
     ("worker", "a", _BROKER), ("a", "worker", 9000), ("b", "worker", _BROKER),
     ("other", "b", _BROKER), ("a", "b", _BROKER), ("other", "worker", _BROKER)],
)  # fmt: skip
def test_nothing_else_is(hosts: Hosts, host: str, to: str, port: int) -> None:
    assert not hosts.reaches(host, to, port)
