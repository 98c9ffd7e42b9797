"""A mount that is cut: errors, a dead server, an empty folder, another share, lost replies."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import visible, wait_until
from tests.mounts.conftest import MakeMounted
from tests.mounts.load import cases, expect, hand_in
from tests.mounts.test_hang import ROLE_A, ROLE_B, conditions, host_of, share_of

pytestmark = pytest.mark.needs("fuse")

_MOMENTS = 16
"""More renames, unlinks or creations than one exchange makes on one mount."""


def written(folder: Path) -> list[Path]:
    """Every file and folder below `folder`."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("role", "error"),
    cases(("a", "ESTALE"), ("b", "EIO"), more=product("ab", ("EACCES", "ENOTCONN", "ETIMEDOUT"))),
)
def test_errors_of_every_call_are_waited_out(
    role: str, error: str, make_mounted: MakeMounted
) -> None:
    world = make_mounted()
    host = host_of(world, role)
    mount = world.mount_of(host)
    mount.fault("*", error=error)
    hand_in(world, range(4))
    wait_until(lambda: share_of(role) in conditions(host), "the trouble is told", 10)
    assert host.process is not None and host.process.poll() is None
    mount.heal()
    expect(world, range(4))
    wait_until(lambda: share_of(role) not in conditions(host), "the trouble is over")


@ROLE_A
def test_nothing_is_written_beneath_a_mount_that_is_gone(
    role: str, make_mounted: MakeMounted
) -> None:
    """The server dies; then it is unmounted: an empty folder; then the same share comes back."""
    world = make_mounted()
    host = host_of(world, role)
    mount = world.mount_of(host)
    hand_in(world, range(2))
    expect(world, range(2))
    mount.crash()
    hand_in(world, range(2, 6))
    wait_until(lambda: share_of(role) in conditions(host), "the loss is told", 10)
    mount.detach()
    seen = len(host.events("share not back"))
    wait_until(lambda: len(host.events("share not back")) > seen, "a look at the folder", 10)
    assert written(mount.point) == []
    mount.mount()
    expect(world, range(2, 6))
    mount.detach()  # And once more, with a server that lives: opened files would still work.
    hand_in(world, range(6, 10))
    wait_until(lambda: share_of(role) in conditions(host), "the loss is told", 10)
    assert written(mount.point) == []
    mount.close()
    mount.mount()
    expect(world, range(6, 10))


@ROLE_B
def test_another_file_system_in_the_share_s_place_is_refused(
    role: str, make_mounted: MakeMounted, tmp_path: Path
) -> None:
    world = make_mounted()
    host = host_of(world, role)
    mount = world.mount_of(host)
    other = tmp_path / "other"
    shutil.copytree(mount.backing, other)
    identity = other / ".roundtrip/share.json"
    known = identity.read_text()
    changed = known.replace(known.split('"id"')[1].split('"')[1][-4:], "0000", 1)
    assert changed != known
    identity.write_text(changed)
    before = written(other)
    mount.close()
    mount.mount(other)
    hand_in(world, range(4))
    found = wait_until(lambda: conditions(host).get(share_of(role)), "it is refused", 10)
    seen = len(host.events("share not back"))
    wait_until(lambda: len(host.events("share not back")) > seen + 1, "it is looked at again", 10)
    assert written(other) == before, found
    mount.close()
    assert written(mount.point) == []
    mount.mount()
    expect(world, range(4))


@pytest.mark.parametrize(
    ("role", "told"),
    cases(("a", "flush"), ("b", "nobody"), more=product("ab", ("flush", "fsync", "nobody"))),
)
def test_lost_writes_never_become_results(
    role: str, told: str, make_mounted: MakeMounted, api: Any
) -> None:
    """As over a soft NFS mount: a write is reported as done, and what lies there is NUL bytes.

    Close (flush) or fsync say so, or nobody does.
    """
    world = make_mounted()
    mount = world.mount_of(host_of(world, role))
    mount.fault("write", lose=True, times=4)
    if told != "nobody":
        mount.fault(told, error="EIO", times=4)
    hand_in(world, range(4))
    expect(world, range(4))
    assert mount.hits()[0] == 4
    assert not any("\0" in call for call in api.calls)


@pytest.mark.parametrize(
    ("role", "error"),
    cases(("a", "EIO"), ("b", "EIO"), more=product("ab", ("ETIMEDOUT", "ESTALE", "EACCES"))),
)
def test_each_step_may_have_happened_although_it_failed(
    role: str, error: str, make_mounted: MakeMounted, record_property: Any
) -> None:
    """The reply to the n-th creation, rename or unlink of an exchange is lost, for each n."""
    world = make_mounted()
    mount = world.mount_of(host_of(world, role))
    number = 0
    for op in ("create", "rename", "unlink"):
        for skip in range(_MOMENTS):
            # Life signs are made all the time and would be counted.
            mount.fault(op, error=error, after=True, skip=skip, times=1, match=r"^/[^/]*$")
            hand_in(world, [number])
            expect(world, [number])
            [hits] = mount.hits()
            mount.heal()
            number += 1
            if not hits:
                break
        else:
            pytest.fail(f"more than {_MOMENTS} calls of {op}")
        record_property(f"lost replies to {op}", skip)
        assert skip >= 2  # At least payload and marker.


def test_a_full_share_holds_the_requests_until_there_is_room(world: Any) -> None:
    world.requests.fault("write", error="ENOSPC")
    hand_in(world, range(4))
    wait_until(lambda: conditions(world.a), "the trouble is told", 10)
    assert not visible(world.unenriched)
    world.requests.heal()
    expect(world, range(4))


def test_requests_taken_in_while_the_share_is_away_survive_a_kill(world: Any) -> None:
    world.requests.crash()
    hand_in(world, range(4))
    wait_until(lambda: not list(world.outbox.iterdir()), "they are taken in", 10)
    world.a.kill()
    world.a.start(ready=False)
    world.requests.detach()
    world.requests.mount()
    world.a.wait_ready()
    expect(world, range(4))
