"""A guest: user-mode-linux with a kernel of its own, reached by ssh."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.lab import network
from tests.lab.image import Image
from tests.lab.names import ADDRESSES, DISKS, INSIDE, RUN, tap
from tests.lab.shell import LabError

MEMORY = os.environ.get("LAB_MEMORY", "320M")
_BOOT = 240.0
_END = 10.0
_LOOK = 0.25


class Machine:
    """One guest by its name, whether it runs or not."""

    def __init__(self, name: str, image: Image) -> None:
        self.name = name
        self.address = ADDRESSES[name]
        self._image = image
        self._pid_file = RUN / f"{name}.pid"
        self.console = RUN / f"{name}.console"

    @property
    def pid(self) -> int | None:
        """Its outermost process, if that runs. Only processes in our namespace count."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int(self._pid_file.read_text())
            return pid if pid in network.pids() else None
        return None

    def boot(self) -> None:
        """Start it, on the disk that it had or, the first time, on one as in the image."""
        DISKS.mkdir(parents=True, exist_ok=True)
        disk = f"ubd0={DISKS / self.name},{self._image.disk}"
        number = int(self.address.rpartition(".")[2])
        wires = f"vec0:transport=tap,ifname={tap(self.name)},gro=1,mac=02:00:0a:e7:07:{number:02x}"
        kernel = ("linux.uml", f"mem={MEMORY}", disk, "root=/dev/ubda", "rw", wires, "quiet",
                  f"systemd.hostname={self.name}", "con=null", "con0=null,fd:1",
                  f"uml_dir={RUN}/uml/")  # fmt: skip
        # In a PID namespace whose first process is the guest's kernel: when that is killed, the
        # processes that it has made for the guest's go as well.
        alone = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
        # The guest's memory is a file there.
        variables = {"TMPDIR": "/dev/shm"}
        if self._image.preload:
            variables["LD_PRELOAD"] = str(self._image.preload)
        pid = network.launch(*alone, *kernel, log=self.console, variables=variables)
        self._pid_file.write_text(str(pid))

    def wait_ready(self, seconds: float = _BOOT) -> None:
        """Wait until sshd answers and systemd has started what it was to start.

        Raises:
            LabError: it didn't in so many seconds, or ended.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.pid is None:
                raise LabError(f"{self.name} has ended; see {self.console}")
            # `degraded` is an answer, too: whoever asks what has failed will see.
            words = ("timeout", "60", "systemctl", "is-system-running", "--wait")
            told = self.ask(*words).stdout.strip()
            if told in ("running", "degraded"):
                return
            time.sleep(_LOOK)
        raise LabError(f"{self.name} is not up within {seconds:g} s; see {self.console}")

    def ssh(self, *words: str | Path) -> list[str]:
        """The command line that runs a command in the guest. Its shell splits the words."""
        return [*INSIDE, "ssh", "-F", str(RUN / "ssh_config"), self.name, *map(str, words)]

    def ask(
        self, *words: str | Path, stdin: bytes | None = None, seconds: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest to its end, whatever that is; 255 is ssh's own failure."""
        done = subprocess.run(
            self.ssh(*words), input=stdin or b"", capture_output=True, timeout=seconds, check=False
        )
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def do(self, *words: str | Path, stdin: bytes | None = None, seconds: float = 600.0) -> str:
        """Run a command in the guest that must succeed; returns its standard output.

        Raises:
            LabError: it failed.
        """
        done = self.ask(*words, stdin=stdin, seconds=seconds)
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            command = " ".join(map(str, words))
            raise LabError(f"{self.name}: {command}: exit {done.returncode}\n{last}")
        return done.stdout

    def reboot(self) -> float:
        """As an operator does it; returns the seconds until it is up again.

        By power off and on: when user-mode-linux restarts by itself, its tap device is still taken.
        """
        begun = time.monotonic()
        self.ask("systemctl", "--no-block", "poweroff")
        while self.pid is not None:
            if time.monotonic() - begun > _BOOT:
                raise LabError(f"{self.name} does not shut down; see {self.console}")
            time.sleep(_LOOK)
        self._hang_up()
        self.boot()
        self.wait_ready()
        return time.monotonic() - begun

    def crash(self) -> None:
        """Pull its plug."""
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # Another process has started it.
            os.waitpid(pid, 0)
        deadline = time.monotonic() + _END
        while self.pid is not None:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not end")
            time.sleep(_LOOK)
        self._hang_up()

    def _hang_up(self) -> None:
        """Forget ssh's connection: it leads to a system that is gone."""
        words = [*INSIDE, "ssh", "-F", str(RUN / "ssh_config"), "-O", "exit", self.name]
        subprocess.run(words, capture_output=True, check=False)


def write_ssh_config(image: Image) -> None:
    """For ssh and Ansible: one connection for each guest, shared by all commands."""
    known = "".join(f"{name},{address} {image.host_key}\n" for name, address in ADDRESSES.items())
    (RUN / "known_hosts").write_text(known)
    lines = ["Host *", "  User root", f"  IdentityFile {image.key}", "  IdentitiesOnly yes",
             f"  UserKnownHostsFile {RUN}/known_hosts", "  GlobalKnownHostsFile none",
             "  StrictHostKeyChecking yes", "  BatchMode yes", "  ConnectTimeout 3",
             "  ServerAliveInterval 5", "  ServerAliveCountMax 6",
             "  LogLevel ERROR",
             "  ControlMaster auto", "  ControlPersist 600",
             f"  ControlPath {RUN}/ssh-%h"]  # fmt: skip
    for name, address in ADDRESSES.items():
        lines += [f"Host {name}", f"  HostName {address}"]
    (RUN / "ssh_config").write_text("\n".join([*lines, ""]))
