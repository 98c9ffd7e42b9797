"""Folders and trees by each backend: floods, new and moved folders, mounts, a bounded journal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode
from tests.watching.conftest import Scene, until

WITHOUT = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
"""Root without any capability: what the kernel then allows is what it allows everybody."""

each_backend = pytest.mark.parametrize(
    ("backend", "under"),
    [
        ("inotify", []),
        pytest.param("fanotify", [], marks=pytest.mark.needs("root")),
        pytest.param("fanotify", WITHOUT, marks=pytest.mark.needs("root", "setpriv")),
        ("poll", []),
    ],
    ids=["inotify", "fanotify", "fanotify without privileges", "poll"],
)


def options(backend: str) -> tuple[str, ...]:
    return ("--recursive", "--backend", backend, "--interval", "100ms")


@each_backend
def test_files_of_a_tree_are_run_once_in_folders_old_new_and_moved(
    scene: Scene, backend: str, under: list[str]
) -> None:
    (scene.folder / "old/deep").mkdir(parents=True)
    (scene.folder / ".hidden").mkdir()
    names = ["top", "old/one", "old/deep/two"]
    for name in [*names, ".hidden/no"]:
        scene.put(name)
    process = scene.start(*options(backend), *scene.script(), under=under)
    scene.ran(*names)
    # Files that are in a new folder before anybody could watch it.
    for number in range(5):
        made = scene.root / f"made{number}" / "a/b"
        made.mkdir(parents=True)
        (made / "file").write_text("content")
        names.append(f"made{number}/a/b/file")
        made.parent.parent.rename(scene.folder / f"made{number}")
    for number in range(5):
        made = scene.folder / f"new{number}/a/b"
        made.mkdir(parents=True)
        (made / "file").write_text("content")
        names.append(f"new{number}/a/b/file")
    scene.ran(*names)
    # A folder that is renamed within the tree: its files have other paths now.
    (scene.folder / "old").rename(scene.folder / "renamed")
    names += ["renamed/one", "renamed/deep/two"]
    scene.ran(*names)
    scene.put("renamed/deep/three")
    names.append("renamed/deep/three")
    scene.ran(*names)
    shutil.rmtree(scene.folder / "renamed")
    (scene.folder / "renamed/deep").mkdir(parents=True)
    scene.put("renamed/deep/four")
    scene.ran(*names, "renamed/deep/four")
    scene.stop(process)


@each_backend
def test_a_tree_that_goes_and_comes_back_is_watched_again(
    scene: Scene, backend: str, under: list[str]
) -> None:
    (scene.folder / "sub").mkdir()
    scene.put("sub/before")
    process = scene.start(*options(backend), *scene.script(), under=under)
    scene.ran("sub/before")
    scene.folder.rename(scene.root / "aside")
    (scene.folder / "sub").mkdir(parents=True)
    scene.put("sub/after")
    scene.ran("sub/before", "sub/after")
    scene.stop(process)


@pytest.mark.needs("root", "unshare", "nsenter", "mount")
@pytest.mark.parametrize("backend", ["inotify", "fanotify"])
@pytest.mark.parametrize("how", ["-t", "--bind"], ids=["another disk", "a folder of the same disk"])
def test_what_is_mounted_in_a_tree_belongs_to_it(scene: Scene, backend: str, how: str) -> None:
    (scene.root / "elsewhere").mkdir()
    what = ["-t", "tmpfs", "none"] if how == "-t" else ["--bind", str(scene.root / "elsewhere")]
    (scene.folder / "disk").mkdir()
    under = ["unshare", "--mount", "--propagation", "private"]
    process = scene.start(*options(backend), *scene.script(), under=under)
    scene.put("first")
    scene.ran("first")
    inside = ["nsenter", "--mount", "-t", str(process.pid)]
    subprocess.run([*inside, "mount", *what, scene.folder / "disk"], check=True)
    write = f"echo content > {scene.folder}/disk/mounted"
    subprocess.run([*inside, "sh", "-c", write], check=True)
    scene.ran("first", "disk/mounted")
    subprocess.run([*inside, "sh", "-c", write + "2"], check=True)
    scene.put("beside")
    scene.ran("first", "disk/mounted", "disk/mounted2", "beside")
    subprocess.run([*inside, "umount", scene.folder / "disk"], check=True)
    scene.put("last")
    scene.ran("first", "disk/mounted", "disk/mounted2", "beside", "last")
    scene.stop(process)


@pytest.mark.parametrize("backend", ["inotify", "fanotify"])
@pytest.mark.parametrize("deep", [False, True], ids=["folder", "tree"])
def test_what_comes_while_the_kernels_queue_is_full_is_run_once(
    scene: Scene, backend: str, deep: bool
) -> None:
    (scene.folder / "sub").mkdir()
    name = "sub/{}" if deep else "{}"
    more = ["--recursive"] if deep else []
    process = scene.start("--backend", backend, *more, "-j", "4", *scene.script())
    scene.put("first")
    scene.ran("first")
    os.kill(process.pid, signal.SIGSTOP)
    flood(scene.folder, backend)
    names = [name.format(f"f{number:02}") for number in range(40)]
    for each in names:
        scene.put(each)
    os.kill(process.pid, signal.SIGCONT)
    scene.ran("first", *names)
    scene.stop(process)


def flood(folder: Path, backend: str) -> None:
    """More events than the queue holds, all of them about nothing."""
    limit = int(Path(f"/proc/sys/fs/{backend}/max_queued_events").read_text())
    for number in range(limit + 50 if backend == "fanotify" else limit // 2 + 10):
        # fanotify makes one event of all that happens to one name.
        name = folder / f".flood-{number if backend == 'fanotify' else number % 2}"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        os.unlink(name)


@pytest.mark.needs("root", "setpriv")
def test_a_folder_that_may_not_be_read_is_told_once_and_holds_up_nobody(scene: Scene) -> None:
    (scene.folder / "secret").mkdir()
    (scene.folder / "secret").chmod(0)
    scene.put("a")
    process = scene.start(*options("poll"), *scene.script(), under=WITHOUT)
    scene.ran("a")
    scene.put("b")
    scene.ran("a", "b")
    told = scene.stop(process).decode().splitlines()
    assert told == ["roundtrip: folder not listed: secret: Permission denied"]
    (scene.folder / "secret").chmod(0o700)


@pytest.mark.needs("root", "setpriv")
@pytest.mark.parametrize("deep", [False, True])
def test_with_once_a_folder_that_may_not_be_read_is_no_success(scene: Scene, deep: bool) -> None:
    scene.put("a")
    secret = scene.folder / "secret" if deep else scene.folder
    secret.mkdir(exist_ok=True)
    secret.chmod(0)
    try:
        done = scene.run("--once", *(["-r"] if deep else []), *scene.script(), under=WITHOUT)
    finally:
        secret.chmod(0o700)
    assert done.returncode == ExitCode.SHARE
    assert done.stderr.count(b"\n") == 1 and b"not listed" in done.stderr
    assert scene.runs() == ({"a": 1} if deep else {})
    assert scene.run("--once", *scene.script()).returncode == ExitCode.OK
    scene.ran("a")


@pytest.mark.needs("root", "setpriv")
def test_with_once_files_that_may_not_be_looked_at_are_no_success(scene: Scene) -> None:
    scene.put("a")
    scene.folder.chmod(0o400)
    try:
        done = scene.run("--once", under=WITHOUT)
    finally:
        scene.folder.chmod(0o700)
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, b"")
    assert b"incoming/a: Permission denied" in done.stderr


@pytest.mark.needs("root", "unshare", "mount")
def test_nothing_is_forgotten_while_what_is_mounted_in_the_tree_is_away(scene: Scene) -> None:
    (scene.folder / "disk").mkdir()
    (scene.root / "elsewhere").mkdir()
    bind = f"mount -t tmpfs none {scene.root}/elsewhere && echo x > {scene.root}/elsewhere/f && "
    bind += f"at() {{ mount --bind {scene.root}/elsewhere {scene.folder}/disk; }}; "
    run = 'at && "$@" && umount "$d" && "$@" && at && "$@"'
    under = ["unshare", "--mount", "sh", "-c", f"{bind} d={scene.folder}/disk; {run}", "sh"]
    done = scene.run("-r", "--once", *scene.script(), under=under)
    assert done.returncode == ExitCode.OK, done.stderr
    scene.ran("disk/f")


LIMITED = 'echo "$1" > /proc/sys/user/max_$0; shift; exec "$@"'


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("what", ["inotify_watches", "fanotify_marks"])
def test_a_tree_with_more_folders_than_the_kernel_has_room_for_is_polled(
    scene: Scene, what: str
) -> None:
    for number in range(6):
        (scene.folder / f"d{number}").mkdir()
    under = ["unshare", "--user", "--map-root-user", "sh", "-c", LIMITED, what, "4"]
    backend = what.partition("_")[0]
    process = scene.start(*options(backend), *scene.script(), under=under)
    line = process.stderr.readline().decode()
    assert f"sysctl fs.{backend}.max_user_" in line and "every 0.1 s instead" in line
    scene.put("d5/polled")
    scene.ran("d5/polled")
    scene.stop(process)


# The journal


def test_the_journal_is_no_longer_than_the_folder(scene: Scene) -> None:
    process = scene.start("--state", str(scene.state), stdout=subprocess.DEVNULL)
    until(lambda: (scene.state / "journal").exists(), "it has begun")
    scene.put("stays")
    for number in range(3000):
        scene.put(f"f{number}")
        if number % 500 == 499:
            until(lambda number=number: f"f{number}" in scene.journal(), "it is seen")
            for path in scene.folder.glob("f*"):
                path.unlink()
    until(lambda: len(scene.journal()) < 2000, "what has gone is forgotten")
    scene.stop(process)
    scene.put("one more")
    scene.run("--once", "--state", str(scene.state))
    assert {"stays", "one more"} <= set(scene.journal())
    assert len(scene.journal()) <= 2 * 2 + 1000


@pytest.mark.needs("root", "unshare", "nsenter", "mount")
def test_nothing_is_forgotten_while_the_folders_file_system_is_not_mounted(scene: Scene) -> None:
    image = scene.root / "image"
    image.mkdir()
    (image / "on-disk").write_text("content")
    process = scene.start(*scene.script(), under=["unshare", "--mount", "--propagation", "private"])
    inside = ["nsenter", "--mount", "-t", str(process.pid)]
    scene.put("below")
    scene.ran("below")
    mount = [*inside, "mount", "--bind", str(image), str(scene.folder)]
    subprocess.run(mount, check=True)
    scene.ran("below", "on-disk")
    subprocess.run([*inside, "umount", scene.folder], check=True)
    scene.put("below too")
    scene.ran("below", "on-disk", "below too")
    subprocess.run(mount, check=True)
    (image / "later").write_text("content")
    scene.ran("below", "on-disk", "below too", "later")
    scene.stop(process)


def test_a_journal_that_is_none_is_refused_in_one_line(scene: Scene) -> None:
    scene.state.mkdir()
    (scene.state / "journal").write_bytes(b"\x00\xff not a journal")
    done = scene.run("--once", *scene.script())
    assert done.returncode == ExitCode.SHARE
    assert done.stderr.count(b"\n") == 1 and b"move it away" in done.stderr


@pytest.fixture
def shares(scene: Scene) -> Iterator[Path]:
    """Host B's Unenriched with a request in it, made by hand."""
    yield scene.folder


def test_it_can_be_used_on_a_share_of_host_b(scene: Scene, shares: Path) -> None:
    subprocess.run(
        ["sh", "-c", 'printf "id\n" > "$1/o.csv" && : > "$1/o.csv.done"', "sh", shares], check=True
    )
    (shares / ".roundtrip").mkdir()
    (shares / ".roundtrip/share.json").write_text("{}")
    done = scene.run("--once", "--on", "done", "--recursive", "--json", *scene.script())
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["name"] == "o.csv"
    scene.ran("o.csv")
