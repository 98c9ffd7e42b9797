"""Two hosts for sshfs: network namespaces joined by a cable that can be cut, each with an sshd.

Only the connections live there: `nsenter --net` leaves the file systems as they are, so that agents
and tests see both hosts' folders and mounts.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.e2e.world import wait_until
from tests.processes import command_line, family

SFTP_SERVER = "/usr/lib/openssh/sftp-server"

_ALIVE = 1  # seconds; two without an answer are a connection that is lost
_numbers = itertools.count()
_CONFIG = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
Subsystem sftp {sftp_server}
"""


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


class SshfsLab:
    """Namespaces, cable, keys and daemons; and the mounts that are made with them."""

    def __init__(self, folder: Path) -> None:
        mark = f"rt{os.getpid()}x{next(_numbers)}"
        self._folder = folder
        self._namespaces = {side: f"{mark}{side}" for side in "ab"}
        # Interfaces' names have 15 characters at most.
        self._cables = {side: f"{mark}v{side}"[-15:] for side in "ab"}
        self._addresses = {"a": "10.203.0.1", "b": "10.203.0.2"}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: dict[Path, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True)

    def __enter__(self) -> SshfsLab:
        try:
            self._make_keys()
            self._make_net()
            for side in "ab":
                self._daemons[side] = self._sshd(side)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make_keys(self) -> None:
        for name in ("host", "client"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name)
        text = _CONFIG.format(folder=self._folder, sftp_server=SFTP_SERVER)
        (self._folder / "sshd_config").write_text(text)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd doesn't start without it

    def _make_net(self) -> None:
        for name in self._namespaces.values():
            _run("ip", "netns", "add", name)
        one, two = self._cables.values()
        first, second = self._namespaces.values()
        _run("ip", "link", "add", one, "netns", first, "type", "veth",
             "peer", "name", two, "netns", second)  # fmt: skip
        for side, name in self._namespaces.items():
            address = f"{self._addresses[side]}/24"
            _run("ip", "-n", name, "address", "add", address, "dev", self._cables[side])
            for device in ("lo", self._cables[side]):
                _run("ip", "-n", name, "link", "set", device, "up")

    def _in(self, side: str, *words: str | Path) -> subprocess.Popen[bytes]:
        """Start a process in a host's network."""
        inside = ["nsenter", f"--net=/run/netns/{self._namespaces[side]}", *map(str, words)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _sshd(self, side: str) -> subprocess.Popen[bytes]:
        """Start a host's server; returns once it listens."""
        log = self._folder / "log"
        before = log.read_text().count("Server listening") if log.exists() else 0
        daemon = self._in(side, "/usr/sbin/sshd", "-D", "-e", "-f", self._folder / "sshd_config")

        def listens() -> bool:
            return log.read_text().count("Server listening") > before

        wait_until(lambda: listens() or daemon.poll() is not None, f"the server of host {side}")
        return daemon

    def mount(self, side: str, remote: Path, point: Path) -> None:
        """Let a host mount a folder of the other one's."""
        point.mkdir(parents=True, exist_ok=True)
        other = self._addresses["b" if side == "a" else "a"]
        options = {
            "IdentityFile": self._folder / "client",
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "ServerAliveInterval": _ALIVE,
            "ServerAliveCountMax": 2,
            "ConnectTimeout": 2,
        }
        told = ",".join(f"{key}={value}" for key, value in options.items())
        client = self._in(side, "sshfs", "-f", f"root@{other}:{remote}", point,
                          "-o", f"reconnect,{told}")  # fmt: skip
        self._clients[point] = client
        wait_until(lambda: _is_mounted(point) or client.poll() is not None, f"sshfs at {point}")
        assert client.poll() is None, (self._folder / "log").read_text()

    def cut(self) -> None:
        """Pull the cable."""
        self._set("down")

    def heal(self) -> None:
        """Put the cable back."""
        self._set("up")

    def _set(self, state: str) -> None:
        _run("ip", "-n", self._namespaces["a"], "link", "set", self._cables["a"], state)

    def freeze(self, side: str) -> None:
        """Stop the sftp-server processes of a host: mounts of its folders hang."""
        self._signal(side, signal.SIGSTOP)

    def thaw(self, side: str) -> None:
        """Let them go on."""
        self._signal(side, signal.SIGCONT)

    def _signal(self, side: str, number: int) -> None:
        found = [
            each for each in family(self._daemons[side].pid) if b"sftp-server" in command_line(each)
        ]
        assert found, "no sftp-server runs"
        for pid in found:
            os.kill(pid, number)

    def close(self) -> None:
        """End and remove everything, whatever state it is in."""
        for point, client in self._clients.items():
            client.kill()
            client.wait()
            while _is_mounted(point):
                subprocess.run(["umount", "-l", point], check=True)
        for daemon in self._daemons.values():
            for pid in list(family(daemon.pid)):
                with contextlib.suppress(ProcessLookupError):  # It has ended with its parent.
                    os.kill(pid, signal.SIGKILL)
            daemon.wait()
        self._clients.clear()
        self._daemons.clear()
        for name in self._namespaces.values():
            if Path("/run/netns", name).exists():
                _run("ip", "netns", "delete", name)


def _is_mounted(point: Path) -> bool:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split(" ")[4] == str(point) for line in lines)
