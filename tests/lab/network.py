"""One network namespace with a bridge, a tap device for each guest, and a link that can be cut.

Nothing leaves it: the namespace has no device that leads outside.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable, Mapping, Set
from pathlib import Path

from tests.lab.names import ADDRESSES, BRIDGE, GATEWAY, INSIDE, NAMESPACE, tap
from tests.lab.shell import LabError, run, start

_END = 10.0  # seconds that killed processes get to be gone


def exists() -> bool:
    """Whether the namespace is there."""
    return Path("/run/netns", NAMESPACE).exists()


def make(guests: Iterable[str]) -> None:
    """Make what is missing of namespace, bridge and tap devices."""
    if not exists():
        run("ip", "netns", "add", NAMESPACE)
    present = run("ip", "-n", NAMESPACE, "-o", "link")
    if f" {BRIDGE}:" not in present:
        run("ip", "-n", NAMESPACE, "link", "add", BRIDGE, "type", "bridge")
        run("ip", "-n", NAMESPACE, "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    for device in ("lo", BRIDGE):
        run("ip", "-n", NAMESPACE, "link", "set", device, "up")
    for name in guests:
        if f" {tap(name)}:" not in present:
            run("ip", "-n", NAMESPACE, "tuntap", "add", "dev", tap(name), "mode", "tap")
        run("ip", "-n", NAMESPACE, "link", "set", tap(name), "master", BRIDGE, "up")


def _taps() -> list[str]:
    lines = run("ip", "-n", NAMESPACE, "-o", "link", "show", "master", BRIDGE).splitlines()
    return [line.split(": ")[1] for line in lines]


def cut(guests: Collection[str] = tuple(ADDRESSES)) -> None:
    """Let no packet pass between these guests; they reach the others and the bridge's own address.

    Ports of a bridge that are isolated (bridge(8)) talk to the others only, and our own address is
    one of these. So tests keep their ssh while the cable between the hosts is pulled, and packets
    vanish without a word, as they do in a switch further away.
    """
    _isolate("on", {tap(name) for name in guests})


def heal() -> None:
    """Let packets pass again."""
    _isolate("off", set(_taps()))


def _isolate(state: str, devices: Set[str]) -> None:
    for device in devices & set(_taps()):
        run("bridge", "-n", NAMESPACE, "link", "set", "dev", device, "isolated", state)


def pids() -> set[int]:
    """Every process in the namespace: the lab has started all of them."""
    return {int(word) for word in run("ip", "netns", "pids", NAMESPACE).split()}


def launch(*words: str | Path, log: Path, variables: Mapping[str, str]) -> int:
    """Start a program that lives on in the namespace; returns its process id once it is there.

    Raises:
        LabError: it ended at once; its log tells.
    """
    pid = start(*INSIDE, *words, log=log, variables=variables)
    deadline = time.monotonic() + _END
    while pid not in pids():
        if time.monotonic() > deadline:
            raise LabError(f"{words[0]} did not start; see {log}")
        time.sleep(0.05)
    return pid


def remove() -> None:
    """End whatever runs in the namespace, and remove it with its devices."""
    if not exists():
        return
    deadline = time.monotonic() + _END
    while left := pids() - {os.getpid()}:
        if time.monotonic() > deadline:
            raise LabError(f"processes of the lab don't end: {sorted(left)}")
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # It ended with another one.
        time.sleep(0.1)
    run("ip", "netns", "delete", NAMESPACE)
