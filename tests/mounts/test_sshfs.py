"""Real sshfs between two network namespaces, both ways: the cable is pulled, a server hangs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from roundtrip.shares import files
from tests.e2e.api import Api
from tests.e2e.world import World, wait_until
from tests.mounts.conftest import TIMING
from tests.mounts.load import expect, hand_in
from tests.mounts.sshfs_lab import SshfsLab
from tests.mounts.test_hang import ROLE_B, SECOND, conditions, share_of, status

pytestmark = pytest.mark.needs("fuse", "ip", "nsenter", "sshd", "sshfs")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SshfsLab]:
    with SshfsLab(tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def world(lab: SshfsLab, tmp_path: Path, api: Api) -> Iterator[World]:
    """Each host's share is mounted by the other one; both agents at work."""
    settings = {"timing": TIMING}
    with ExitStack() as stack:
        world = World(tmp_path / "world", api.url, a=settings, b=settings)
        points = {"a": tmp_path / "mounts/a", "b": tmp_path / "mounts/b"}
        lab.mount("a", world.unenriched, points["a"])
        lab.mount("b", world.enriched, points["b"])
        for host, name in ((world.a, "unenriched"), (world.b, "enriched")):
            told = json.loads(host.config.read_text())
            told["shares"][name] = str(points[host.role])
            host.config.write_text(json.dumps(told))
        stack.callback(lab.close)  # Whoever hangs in a mount ends after it.
        stack.enter_context(world)
        stack.callback(lab.close)
        world.start()
        yield world
    assert not world.defects()


def test_an_open_folder_is_listed_again_and_again(lab: SshfsLab, tmp_path: Path) -> None:
    there, point = tmp_path / "there", tmp_path / "point"
    there.mkdir()
    lab.mount("a", there, point)
    opened = files.open_folder(point)
    try:
        assert files.names(opened) == []
        (point / "new").touch()
        assert files.names(opened) == ["new"]
        assert files.names(opened) == ["new"]
    finally:
        os.close(opened)


def test_a_pulled_cable_is_waited_out(world: World, lab: SshfsLab, record_property: Any) -> None:
    hand_in(world, range(8))
    expect(world, range(8))
    patience = max(SECOND, 2 * status(world.a)[1])
    lab.cut()
    hand_in(world, range(8, 16))
    wait_until(lambda: share_of("a") in conditions(world.a), "A notices", 15)
    wait_until(lambda: share_of("b") in conditions(world.b), "B notices", 15)
    slowest = max(status(host)[1] for host in (world.a, world.b))
    record_property("status during the cut, seconds", round(slowest, 3))
    assert slowest < patience
    lab.heal()
    healed = time.monotonic()
    expect(world, range(8, 16), 40)
    record_property("back until all is delivered, seconds", round(time.monotonic() - healed, 2))


@ROLE_B
def test_a_hanging_sftp_server_is_waited_out(
    role: str, world: World, lab: SshfsLab, record_property: Any
) -> None:
    host, server = (world.a, "b") if role == "a" else (world.b, "a")
    patience = max(SECOND, 2 * status(host)[1])
    lab.freeze(server)
    hand_in(world, range(8))
    wait_until(lambda: share_of(role) in conditions(host), "it is noticed", 10)
    told, took = status(host)
    record_property("status during the hang, seconds", round(took, 3))
    assert took < patience
    assert "hung" in told["shares"][share_of(role).removeprefix("share.")]["health"]
    began = time.monotonic()
    assert host.stop() == 0
    assert time.monotonic() - began < 2 + SECOND
    host.start(ready=False)
    lab.thaw(server)
    thawed = time.monotonic()
    host.wait_ready()
    expect(world, range(8), 40)
    record_property("back until all is delivered, seconds", round(time.monotonic() - thawed, 2))
