"""A deployed pair under test: load on A, breakages on either host, and the sheet at the end."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from typing import Any

from tests.lab import network
from tests.lab.machine import Machine
from tests.lab.names import REPOSITORY
from tests.lab.shell import LabError

ROOT = "/srv/roundtrip"
_SHIPPED = ("tests/__init__.py", "tests/e2e/__init__.py", "tests/e2e/api.py",
            "tests/e2e/payloads.py", "tests/lab/__init__.py",
            "tests/lab/application.py")  # fmt: skip
_PYTHON = ("env", "PYTHONPATH=/opt/lab", "python3", "-m", "tests.lab.application")
_NO_SSH = 255  # ssh(1): it is the connection that failed; to wait once more changes nothing
_TRIES = 3
_GOOD = ("lost", "doubled", "wrong", "not asked for", "failed", "calls too many")

Sheet = dict[str, Any]


class Pair:
    """Hosts a and b, as the playbook has left them."""

    def __init__(self, a: Machine, b: Machine, label: str, *workers: Machine) -> None:
        """`workers`: hosts that run nothing but workers for b."""
        self.a, self.b = a, b
        self.machines = (a, b, *workers)
        self.label = label
        self._load: list[subprocess.Popen[bytes]] = []
        a.do("mkdir -p /opt/lab && tar -x -C /opt/lab", stdin=_tar())

    def application(self, *words: str | float, seconds: float = 900.0) -> str:
        """Run the application on A to its end."""
        return self.a.do(*_PYTHON, *map(str, words), seconds=seconds)

    def begin(self, *words: str | float) -> None:
        """Let the application work on A, whatever becomes of us or of the connection."""
        self.a.do("systemd-run", "--quiet", "--collect", "--setenv=PYTHONPATH=/opt/lab",
                  "python3", "-m", "tests.lab.application", *map(str, words))  # fmt: skip

    def clean(self) -> None:
        """Begin a test with closed books, whole links and both agents at work."""
        network.heal()
        self.application("wait", "--seconds", 60)
        self.application("new")

    def balance(self, seconds: float) -> Sheet:
        """Wait until everything has come; the sheet."""
        for _ in range(_TRIES):
            done = self.a.ask(*_PYTHON, "wait", "--seconds", str(seconds), seconds=900.0)
            if done.returncode != _NO_SSH:
                break
        if done.returncode:
            raise LabError(f"a: wait: exit {done.returncode}\n{done.stdout}{done.stderr}")
        told: Sheet = json.loads(done.stdout.splitlines()[-1])
        return told

    def mount_unit(self, machine: Machine) -> str:
        """The path at which a host has the other one's share."""
        return f"{ROOT}/{'Unenriched' if machine is self.a else 'Enriched'}"

    def backends(self) -> str:
        """What tells either agent of changes in the share that it reads."""
        found = []
        for machine in (self.a, self.b):
            lines = machine.do("journalctl --namespace=roundtrip -o cat --no-pager | grep watching")
            entries = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
            last = [
                each["backend"]
                for each in entries
                if each["event"] == "watching" and each["folder"] == "share"
            ][-1:]
            found.append(f"{machine.name} {' '.join(last) or 'unknown'}")
        return ", ".join(found)

    def usage(self, machine: Machine) -> tuple[float, int]:
        """CPU seconds of a host's agent, and remote calls of its NFS client, since they started."""
        shown = "systemctl show -P CPUUsageNSec roundtrip.service; cat /proc/net/rpc/nfs || true"
        cpu, *lines = machine.do(shown).splitlines()
        calls = [int(line.split()[1]) for line in lines if line.startswith("rpc ")]
        return int(cpu) / 1e9, sum(calls)

    def defects(self, since: str) -> list[str]:
        """What an agent or a worker must never say."""
        found = []
        for machine in self.machines:
            text = machine.ask("journalctl", "--namespace=roundtrip", "-o", "cat", "--no-pager",
                               "--since", f"'{since}'").stdout  # fmt: skip
            if "Traceback" in text:
                found.append(f"{machine.name}: a traceback in the log")
            if machine.do("ls", f"{ROOT}/quarantine 2>/dev/null || true").strip():
                found.append(f"{machine.name}: something in quarantine")
        return found


def faults(sheet: Sheet) -> list[str]:
    """What makes a sheet a bad one: everything must have been delivered once, or be waiting."""
    found = [f"{sheet[name]} {name}" for name in _GOOD if sheet.get(name)]
    if sheet["sent"] != sheet.get("expected", sheet["sent"]):
        found.append(f"{sheet['expected']} were to be sent, {sheet['sent']} were")
    if sheet["sent"] != sheet["delivered"] + sheet["waiting"] + sheet["lost"]:
        found.append("it does not balance")
    return found


def _tar() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name in _SHIPPED:
            tar.add(REPOSITORY / name, name)
    return held.getvalue()


def until(what: str, check: Any, seconds: float) -> float:
    """Look twice a second until `check` says yes; returns the seconds that took.

    Raises:
        LabError: it didn't.
    """
    begun = time.monotonic()
    while not check():
        if time.monotonic() - begun > seconds:
            raise LabError(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)
    return time.monotonic() - begun
