"""Real agents, a real kernel: full queues, no room for watches, folders that go, come and hide."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld, api, make_world
from tests.e2e.world import Host, World, visible, wait_until
from tests.processes import inotify_watches

__all__ = ["api", "make_world"]

PRIVATE = ("unshare", "--mount", "--propagation", "private")
"""A mount namespace: what is mounted there, nobody else sees."""

QUICK = {"timing": {"settle": 0.2, "grace": 2, "heartbeat": 0.5, "rescan": 30}}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(a=QUICK, b=QUICK)


@pytest.fixture
def hidden(world: World) -> World:
    """Agent A in a mount namespace of its own, agent B as ever."""
    world.b.start()
    world.a.start(under=PRIVATE)
    return world


def inside(host: Host, *command: str | Path) -> None:
    """Run a program in the mount namespace of an agent."""
    subprocess.run(["nsenter", "--mount", "-t", str(host.pid), *command], check=True)


def went_round(world: World, name: str, folder: str = "outbox") -> None:
    """A new file goes the whole way."""
    content = name.encode() * 3
    part = world.folder / f"staged-{name}"
    part.write_bytes(content)
    part.rename(world.a.folder(folder) / name)
    assert world.result(name) == content


def conditions(host: Host) -> dict[str, str]:
    """What the agent says is wrong."""
    found = json.loads(host.folder(f"state/health-{host.role}.json").read_text())
    return {each["key"]: each["text"] for each in found["conditions"]}


def delivered_once(world: World, names: set[str]) -> None:
    world.wait_closed()
    wait_until(lambda: len(world.a.events("closed")) >= len(names), "the log says so")
    assert set(visible(world.inbox)) == names
    lines = [line["exchange"] for line in world.a.events("delivered")]
    taken = Counter(line["file"] for line in world.a.events("taken"))
    assert len(lines) == len(set(lines)) == len(names)
    assert set(taken.values()) == {1} and len(taken) == len(names)


# The kernel's queue


def flood(folder: Path) -> None:
    """More events than the queue of one instance holds, all of them about nothing."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [folder / ".flood-0", folder / ".flood-1"]
    for number in range(limit // 2 + 10):
        name = names[number % 2]  # Equal events in a row are one event.
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.unlink(name)


@contextlib.contextmanager
def halted(*hosts: Host) -> Iterator[None]:
    for host in hosts:
        os.kill(host.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for host in hosts:
            os.kill(host.pid, signal.SIGCONT)


def test_what_comes_while_the_queue_of_either_agent_is_full_is_handled_once(
    world: World, api: Api
) -> None:
    world.start()
    names = {f"f{number:03}.raw" for number in range(120)}
    early, late = sorted(names)[:60], sorted(names)[60:]
    api.hold()
    for name in early:
        world.drop(name, name.encode())
    wait_until(lambda: api.waiting, "B is asking")
    with halted(world.a):
        flood(world.outbox)
        for name in late:
            world.drop(name, name.encode())
        api.release()  # Answers come into the share of an agent that does not listen.
        wait_until(lambda: len(list(world.enriched.glob("*.done"))) >= 20, "answers")
        flood(world.enriched)
        with halted(world.b):
            flood(world.unenriched)
            os.kill(world.a.pid, signal.SIGCONT)  # Requests for an agent that does not listen.
            wait_until(lambda: world.a.events("events lost"), "A noticed")
            wait_until(lambda: len(world.a.events("taken")) == len(names), "all are taken")
            published = lambda: len(world.a.events("published"))  # noqa: E731
            wait_until(lambda: published() >= len(names) - 20, "most are published")
    wait_until(lambda: world.b.events("events lost"), "B noticed")
    for name in names:
        assert world.result(name, 60) == name.encode()
    delivered_once(world, names)
    assert sum(count for call, count in api.calls.items() if call.startswith("echo")) == len(names)


def test_agents_that_are_woken_by_fanotify_miss_nothing_even_when_its_queue_is_full(
    make_world: MakeWorld,
) -> None:
    settings = {**QUICK, "watch": {"backend": "fanotify"}}
    world = make_world(a=settings, b=settings)
    (world.outbox / "echo").mkdir()
    world.start()
    for host in (world.a, world.b):
        backends = {line["folder"]: line["backend"] for line in host.events("watching")}
        folders = {"outbox", "share", "submit"} & set(backends)
        assert folders and {backends[folder] for folder in folders} == {"fanotify"}
    went_round(world, "plain.raw")
    went_round(world, "chosen.raw", "outbox/echo")
    with halted(world.a):
        for number in range(fanotify_queue() + 10):
            name = world.outbox / f".flood-{number}"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
            os.unlink(name)
        world.drop("late.raw", b"late")
    assert world.result("late.raw", 60) == b"late"
    assert world.a.events("events lost")
    aside = world.outbox.rename(world.a.root / "aside")
    world.outbox.mkdir()
    (aside / "stray.raw").write_bytes(b"not in the outbox")
    went_round(world, "replaced.raw")
    delivered_once(world, {"plain.raw", "chosen.raw", "late.raw", "replaced.raw"})


def fanotify_queue() -> int:
    return int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())


# No room for watches

LIMITED = 'echo "$1" > /proc/sys/user/max_inotify_$0; shift; exec "$@"'


def limited(what: str, count: int) -> tuple[str, ...]:
    """A user namespace with room for so many `watches` or `instances`; others have their own."""
    return ("unshare", "--user", "--map-root-user", "sh", "-c", LIMITED, what, str(count))


def grant(host: Host, what: str, count: int) -> None:
    words = ["nsenter", "--user", "--preserve-credentials", "-t", str(host.pid), "sh", "-c"]
    words += [f"echo {count} > /proc/sys/user/max_inotify_{what}"]
    subprocess.run(words, check=True)


@pytest.mark.needs("root", "unshare", "nsenter")
@pytest.mark.parametrize(("what", "count"), [("watches", 2), ("instances", 0)])
def test_an_agent_without_room_for_watches_polls_says_so_and_returns_to_events(
    what: str, count: int, world: World
) -> None:
    world.b.start()
    world.a.start(under=limited(what, count))
    assert inotify_watches(world.a.pid) == (count if what == "watches" else 0)
    (world.outbox / "echo").mkdir()  # A pipeline's folder, which would need one watch more.
    went_round(world, "polled.raw")
    went_round(world, "chosen.raw", "outbox/echo")
    told = wait_until(
        lambda: (found := conditions(world.a)).get("watch.outbox/echo") and found, "it is said"
    )
    assert all(
        f"sysctl fs.inotify.max_user_{what}=" in told[key] for key in told if "watch." in key
    )
    assert "it is looked at every 1 s" in told["watch.outbox/echo"]
    assert b"watch.outbox/echo" in world.a.run("status").stdout
    grant(world.a, what, 100)
    wait_until(lambda: inotify_watches(world.a.pid) >= 4, "events again")
    wait_until(lambda: not conditions(world.a), "nothing is wrong any more")
    went_round(world, "told.raw")
    delivered_once(world, {"polled.raw", "chosen.raw", "told.raw"})


@pytest.mark.needs("root", "unshare", "nsenter")
def test_a_folder_made_again_when_no_watch_is_left_is_polled(world: World) -> None:
    world.b.start()
    world.a.start(under=limited("watches", 100))
    went_round(world, "first.raw")
    grant(world.a, "watches", 0)
    aside = world.outbox.rename(world.a.root / "aside")
    world.outbox.mkdir()
    (aside / "stray.raw").write_bytes(b"not in the outbox")
    went_round(world, "second.raw")
    wait_until(lambda: "watch.outbox" in conditions(world.a), "it is said")
    grant(world.a, "watches", 100)
    wait_until(lambda: not conditions(world.a), "nothing is wrong any more")
    went_round(world, "third.raw")
    delivered_once(world, {"first.raw", "second.raw", "third.raw"})


# Folders that go and come


def renamed(path: Path) -> Callable[[], object]:
    aside = path.rename(path.with_name(f"{path.name} aside"))
    return lambda: aside.rename(path)


def deleted(path: Path) -> Callable[[], object]:
    shutil.rmtree(path)
    return lambda: path.mkdir()


def replaced_by_a_link(path: Path) -> Callable[[], object]:
    aside = path.rename(path.with_name(f"{path.name} aside"))
    path.symlink_to(aside)

    def back() -> None:
        path.unlink()
        aside.rename(path)

    return back


def replaced_by_a_file(path: Path) -> Callable[[], object]:
    aside = path.rename(path.with_name(f"{path.name} aside"))
    path.write_text("in the way")

    def back() -> None:
        path.unlink()
        aside.rename(path)

    return back


AWAY = [renamed, deleted, replaced_by_a_file, replaced_by_a_link]


@pytest.mark.parametrize("folder", ["outbox", "outbox/echo", "state/submit", "inbox", "failed"])
def test_an_agent_goes_on_when_one_of_its_folders_is_back(folder: str, world: World) -> None:
    (world.outbox / "echo").mkdir()
    world.start()
    went_round(world, "before.raw")
    names = {"before.raw"}
    for away in AWAY:
        path = world.a.folder(folder)
        back = away(path)
        name = f"{away.__name__}.raw"
        if folder == "inbox":
            world.drop(name, name.encode() * 3)
            wait_until(
                lambda name=name: world.a.events("taken")[-1]["file"] == name, "taken all the same"
            )
        elif folder == "outbox" and away is not replaced_by_a_link:
            wait_until(lambda: "watch.outbox" in conditions(world.a), "it is said")
        back()
        if folder == "inbox":
            assert world.result(name) == name.encode() * 3
        elif folder == "state/submit":
            source = world.folder / name
            source.write_bytes(name.encode())
            assert world.a.run("send", "--wait", source).returncode == 0
        else:
            went_round(world, name, folder if folder == "outbox/echo" else "outbox")
        names.add(name)
        if folder == "inbox" and away is deleted:
            names = {name}  # What was in it went with it.
    assert set(visible(world.inbox)) == names
    world.wait_closed()
    assert world.a.process is not None and world.a.process.poll() is None
    assert not world.defects()
    wait_until(lambda: not conditions(world.a), "nothing is wrong any more")


def test_nothing_is_taken_through_a_link_that_stands_for_a_pipelines_folder(world: World) -> None:
    (world.outbox / "echo").mkdir()
    world.start()
    went_round(world, "before.raw", "outbox/echo")
    private = world.folder / "private"
    private.mkdir()
    (private / "secret.raw").write_bytes(b"secret")
    (world.outbox / "echo").rmdir()
    (world.outbox / "echo").symlink_to(private)
    went_round(world, "after.raw")
    world.wait_closed()
    assert visible(private) == ["secret.raw"]
    assert "secret.raw" not in visible(world.inbox)


@pytest.mark.needs("root", "setpriv")
def test_a_folder_that_may_not_be_used_for_a_while_loses_nothing(world: World) -> None:
    for parent in [world.folder, *world.folder.parents][:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    subprocess.run(["chmod", "-R", "a+rwX", world.folder], check=True)
    subprocess.run(["chown", "-R", "nobody", world.a.root], check=True)
    world.b.start()
    world.a.start(under=("setpriv", "--reuid=65534", "--clear-groups"))
    for folder in ("outbox", "inbox"):
        path = world.a.folder(folder)
        path.chmod(0)
        world.drop(f"{folder}.raw", b"in" * 10)
        wait_until(lambda: world.a.events("held"), "A says what is wrong")
        path.chmod(0o777)
        assert world.result(f"{folder}.raw") == b"in" * 10
    delivered_once(world, {"outbox.raw", "inbox.raw"})


# Mounts


@pytest.mark.needs("root", "unshare", "nsenter", "mount")
@pytest.mark.parametrize("how", ["tmpfs", "bind"])
def test_files_below_a_mount_over_the_outbox_wait_and_are_taken_afterwards(
    how: str, hidden: World
) -> None:
    went_round(hidden, "before.raw")
    outbox = hidden.outbox
    elsewhere = hidden.folder / "elsewhere"
    elsewhere.mkdir()
    mount: tuple[str | Path, ...] = (
        ("-t", "tmpfs", "none") if how == "tmpfs" else ("--bind", elsewhere)
    )
    inside(hidden.a, "mount", *mount, outbox)
    wait_until(lambda: "intake.outbox" in conditions(hidden.a), "it is said")
    inside(hidden.a, "sh", "-c", f"echo above > {outbox}/above.raw")
    hidden.drop("below.raw", b"below")
    assert visible(hidden.outbox) == ["below.raw"]
    inside(hidden.a, "umount", outbox)
    assert hidden.result("below.raw") == b"below"
    wait_until(lambda: not conditions(hidden.a), "nothing is wrong any more")
    delivered_once(hidden, {"before.raw", "below.raw"})
    if how == "bind":
        assert visible(elsewhere) == ["above.raw"]


@pytest.mark.needs("root", "unshare", "nsenter", "mount")
def test_a_mount_over_a_pipelines_folder_is_refused_by_name_and_its_end_noticed(
    hidden: World,
) -> None:
    folder = hidden.outbox / "echo"
    folder.mkdir()
    went_round(hidden, "before.raw", "outbox/echo")
    inside(hidden.a, "mount", "-t", "tmpfs", "none", folder)
    told = wait_until(lambda: conditions(hidden.a).get("intake.outbox/echo"), "it is said")
    assert f"{folder} is on another mount than" in told
    went_round(hidden, "beside.raw")
    (folder / "below.raw").write_bytes(b"below")
    inside(hidden.a, "umount", folder)
    assert hidden.result("below.raw") == b"below"
    wait_until(lambda: not conditions(hidden.a), "nothing is wrong any more")
    delivered_once(hidden, {"before.raw", "beside.raw", "below.raw"})


@pytest.mark.needs("root", "unshare", "nsenter", "mount")
@pytest.mark.parametrize("folder", ["inbox", "Enriched"])
def test_a_mount_over_a_folder_that_results_pass_is_waited_out(folder: str, hidden: World) -> None:
    went_round(hidden, "before.raw")
    path = hidden.a.folder(folder)
    inside(hidden.a, "mount", "-t", "tmpfs", "none", path)
    hidden.drop("meanwhile.raw", b"meanwhile")
    wait_until(lambda: hidden.a.events("held") or conditions(hidden.a), "A says what is wrong")
    inside(hidden.a, "umount", "--lazy", path)  # The agent may have opened what is mounted.
    assert hidden.result("meanwhile.raw") == b"meanwhile"
    went_round(hidden, "after.raw")
    delivered_once(hidden, {"before.raw", "meanwhile.raw", "after.raw"})


@pytest.mark.needs("fuse")
@pytest.mark.parametrize("before", [True, False], ids=["before the start", "at work"])
def test_a_pipelines_folder_under_a_mount_that_hangs_holds_up_nobody(
    before: bool, world: World, tmp_path: Path
) -> None:
    from tests.mounts.shaky import ShakyMount

    folder, backing = world.outbox / "echo", tmp_path / "backing"
    folder.mkdir()
    backing.mkdir()
    (backing / "remote.raw").write_bytes(b"not ours to take")
    world.b.start()
    if not before:
        world.a.start()
    (world.outbox / "echo" / ".kept").touch()
    with ShakyMount(backing, folder, tmp_path / "scratch") as mount:
        mount.freeze()
        try:
            if before:
                world.a.start()
            went_round(world, "beside.raw")
            told = wait_until(lambda: conditions(world.a).get("intake.outbox/echo"), "it is said")
            assert "is on another mount" in told
            time.sleep(1.2)  # Heartbeats and checks of the watches pass.
            went_round(world, "later.raw")
        finally:
            mount.thaw()
    wait_until(lambda: "intake.outbox/echo" not in conditions(world.a), "its end is noticed")
    went_round(world, "below.raw", "outbox/echo")
    delivered_once(world, {"beside.raw", "later.raw", "below.raw"})
    assert visible(backing) == ["remote.raw"]
