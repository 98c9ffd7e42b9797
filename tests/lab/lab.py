"""The lab as a whole: what `up` makes, and `down` removes whatever state it is in."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import network
from tests.lab.image import Image, image
from tests.lab.machine import Machine, write_ssh_config
from tests.lab.names import ADDRESSES, DISKS, NAMESPACE, REPOSITORY, RUN
from tests.lab.shell import LabError

PAIR = ("a", "b")
_STUCK = 120.0  # seconds; 25 are usual
_LOCK = Path(f"/run/lock/{NAMESPACE}")
_CHOSEN = RUN / "image"
_SERVICES = RUN / "services.pid"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One command at a time may change what there is."""
    if os.geteuid():
        raise LabError("the lab needs root: namespaces and tap devices")
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another command is at work on the lab") from None
        yield


def up(names: tuple[str, ...] = PAIR) -> dict[str, Machine]:
    """Make and start whatever is missing; returns the guests, ready."""
    made = _image()
    RUN.mkdir(parents=True, exist_ok=True)
    _CHOSEN.write_text(str(made.folder))
    network.make(names)
    network.heal()
    write_ssh_config(made)
    _serve(made)
    machines = {name: Machine(name, made) for name in names}
    for machine in machines.values():
        if machine.pid is None:
            machine.boot()
    for machine in machines.values():
        _wait_for(machine)
    return machines


def guests(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Which guests a command line asks for."""
    third = [*(["nas"] if arguments.nas else []), *(["w"] if arguments.workers else [])]
    return (*PAIR, *third)


def _wait_for(machine: Machine) -> None:
    """Now and then user-mode-linux stops for good while it boots: then its plug is pulled, once."""
    try:
        machine.wait_ready(_STUCK)
    except LabError as error:
        print(f"{error}; trying again", file=sys.stderr)
        machine.crash()
        machine.boot()
        machine.wait_ready()


def _image() -> Image:
    """The image that the lab was made from, even if another one would be made by now."""
    with contextlib.suppress(FileNotFoundError):
        folder = Path(_CHOSEN.read_text())
        if folder.exists():
            return Image(folder)
    return image()


def _serve(made: Image) -> None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        if int(_SERVICES.read_text()) in network.pids():
            return
    module = ("-m", "tests.lab.services", str(made.packages))
    variables = {"PYTHONPATH": str(REPOSITORY)}
    log = RUN / "services.log"
    pid = network.launch(sys.executable, *module, log=log, variables=variables)
    _SERVICES.write_text(str(pid))


def machines() -> dict[str, Machine]:
    """The guests that run."""
    if not network.exists() or not RUN.exists():
        return {}
    made = _image()
    found = (Machine(name, made) for name in ADDRESSES)
    return {each.name: each for each in found if each.pid is not None}


def down() -> None:
    """End every process of the lab, and remove namespace, disks and logs; the image stays."""
    network.remove()
    for folder in (DISKS, RUN):
        if folder.exists():
            shutil.rmtree(folder)
    _LOCK.unlink(missing_ok=True)


def timed(begun: float) -> str:
    """For people: how long it took."""
    return f"{(time.monotonic() - begun) / 60:.1f} minutes"
