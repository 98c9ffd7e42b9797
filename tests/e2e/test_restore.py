"""A side that is restored from a backup or moved to another disk, as the how-to pages do it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import Host, World, visible, wait_until

pytestmark = pytest.mark.needs("rsync")


def rsync(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    subprocess.run(
        ["rsync", "-aHAX", "--numeric-ids", "--one-file-system", f"{source}/", f"{target}/"],
        check=True,
    )


def replace(host: Host, source: Path) -> None:
    """The host's folder is another one from now on: a copy, on another disk as it were."""
    shutil.rmtree(host.root)
    rsync(source, host.root)


def asked(world: World, api: Api, name: str) -> None:
    """An exchange that B is at, and stays at."""
    api.hold()
    world.drop(name, b"open")
    wait_until(lambda: api.calls[f"echo:{name}"], "B is asking")


def test_an_original_that_was_open_in_a_s_backup_is_answered(
    running: World, api: Api, tmp_path: Path
) -> None:
    asked(running, api, "open.raw")
    rsync(running.a.root, tmp_path / "backup")
    running.a.stop()
    replace(running.a, tmp_path / "backup")
    running.a.start()
    api.release()
    assert running.result("open.raw") == b"open"
    running.wait_closed()
    assert visible(running.inbox) == ["open.raw"]


def test_what_a_received_since_its_backup_comes_again_beside_the_first(
    running: World, api: Api, tmp_path: Path
) -> None:
    asked(running, api, "open.raw")
    rsync(running.a.root, tmp_path / "backup")
    api.release()
    running.result("open.raw")
    running.wait_swept()
    running.a.stop()
    # Restored as the page says: over what is there, so what came since stays.
    rsync(tmp_path / "backup", running.a.root)
    running.a.start()
    wait_until(lambda: len(visible(running.inbox)) == 2, "it came again")
    assert {(running.inbox / name).read_bytes() for name in visible(running.inbox)} == {b"open"}
    running.wait_swept()


def test_an_old_b_pays_again_for_what_is_open_and_answers_once(
    running: World, api: Api, tmp_path: Path
) -> None:
    rsync(running.b.root, tmp_path / "backup")
    asked(running, api, "open.raw")
    running.b.kill()
    rsync(tmp_path / "backup", running.b.root)
    api.release()
    running.b.start()
    assert running.result("open.raw") == b"open"
    running.wait_closed()
    assert api.calls["echo:open.raw"] == 2
    assert visible(running.inbox) == ["open.raw"]


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_side_that_is_moved_goes_on_where_it_was(
    role: str, make_world: MakeWorld, api: Api, tmp_path: Path
) -> None:
    # No mount tells that the folder is another one, so it is found when the shares are checked.
    often = {"timing": {"heartbeat": "1s"}}
    running = make_world(a=often, b=often)
    running.start()
    moved = running.a if role == "a" else running.b
    asked(running, api, "open.raw")
    moved.stop()
    rsync(moved.root, tmp_path / "new")
    replace(moved, tmp_path / "new")
    moved.start()
    api.release()
    # The other side's agent was not restarted: its share is another folder now, at the same path.
    assert running.result("open.raw") == b"open"
    running.drop("next.raw", b"next")
    assert running.result("next.raw") == b"next"
    running.wait_closed()
    assert visible(running.inbox) == ["next.raw", "open.raw"]


def test_a_share_that_lost_its_identity_is_refused_until_its_pins_are_removed(
    make_world: MakeWorld,
) -> None:
    often = {"timing": {"heartbeat": "1s"}}
    world = make_world(a=often, b=often)
    world.start()
    world.a.stop()
    shutil.rmtree(world.enriched / ".roundtrip")
    assert world.a.run("init", "--role", "a").returncode == 0
    world.drop("x.raw", b"x")
    for host in (world.a, world.b):
        told = wait_until(lambda host=host: refusal(host), f"{host.role}'s doctor refuses it")
        assert str(host.folder(f"state/pins-{host.role}/enriched.share")) in told
    for host in (world.a, world.b):
        host.folder(f"state/pins-{host.role}/enriched.share").unlink()
    world.a.start()
    assert world.result("x.raw") == b"x"


def refusal(host: Host) -> str:
    done = host.run("doctor")
    return done.stdout.decode() if done.returncode == 10 else ""
