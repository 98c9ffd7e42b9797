"""What says that a file is complete: the modes, the settle time, what is there at the start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.roles.intake import IN_FLIGHT
from tests.intake.hosts import Hosts, agents, ran, shell, until

LONG_ENOUGH = 0.4
"""Seconds after which something that should not be taken would have been."""


async def nothing_taken(hosts: Hosts, seconds: float = LONG_ENOUGH) -> None:
    await asyncio.sleep(seconds)
    assert hosts.log.of("taken") == []


# Modes


async def test_moved_to_does_not_take_what_was_closed(hosts: Hosts) -> None:
    hosts.configure(outbox={"complete": "moved_to"})
    async with agents(hosts):
        await shell(f"echo half > {hosts.outbox}/x.txt")
        await nothing_taken(hosts)
        await shell(f"cd {hosts.outbox}; echo whole >> x.txt; mv x.txt y.txt")
        assert await hosts.delivered("y.txt") == b"half\nwhole\n"


async def test_done_waits_for_the_producers_marker_and_takes_it_along(hosts: Hosts) -> None:
    hosts.configure(outbox={"complete": "done"})
    async with agents(hosts):
        await shell(f"echo half > {hosts.outbox}/x.txt")
        await shell(f"echo staged > {hosts.folder}/s; mv {hosts.folder}/s {hosts.outbox}/y.txt")
        await nothing_taken(hosts)
        await shell(f"cd {hosts.outbox}; echo whole >> x.txt; : > x.txt.done")
        assert await hosts.delivered("x.txt") == b"half\nwhole\n"
        await until(lambda: os.listdir(hosts.outbox) == ["y.txt"], "the marker's removal")
    assert hosts.log.defects == []


@pytest.mark.parametrize("made_by", ["touch {}", ": > {}.tmp; mv {}.tmp {}", "echo yes > {}"])
async def test_done_takes_a_marker_however_it_was_made(made_by: str, hosts: Hosts) -> None:
    hosts.configure(outbox={"complete": "done"})
    async with agents(hosts):
        script = "echo data > x.txt; " + made_by.replace("{}", "x.txt.done")
        await shell(script, cwd=hosts.outbox)
        assert await hosts.delivered("x.txt") == b"data\n"
    assert os.listdir(hosts.outbox) == []


async def test_done_before_its_file_is_no_reason_to_forget_the_file(hosts: Hosts) -> None:
    """cp -r and tar copy in any order they like."""
    hosts.configure(outbox={"complete": "done"})
    async with agents(hosts):
        await shell(f": > {hosts.outbox}/x.txt.done")
        await nothing_taken(hosts, 0.1)
        await shell(f"echo data > {hosts.outbox}/x.txt")
        assert await hosts.delivered("x.txt") == b"data\n"


async def test_done_still_takes_nothing_that_somebody_writes(hosts: Hosts) -> None:
    hosts.configure(outbox={"complete": "done"})
    async with agents(hosts):
        with (hosts.outbox / "x.txt").open("wb", buffering=0) as writer:
            writer.write(b"half ")
            (hosts.outbox / "x.txt.done").touch()
            await nothing_taken(hosts)
            writer.write(b"whole")
        assert await hosts.delivered("x.txt") == b"half whole"


async def test_close_write_leaves_a_name_that_ends_in_done(working: Hosts) -> None:
    await shell(f"echo x > {working.outbox}/x.txt.done")
    await nothing_taken(working)


async def test_settle_waits_until_a_file_has_been_left_alone(hosts: Hosts) -> None:
    hosts.configure(outbox={"settle": 0.5})
    async with agents(hosts):
        for number in range(6):
            await shell(f"echo {number} >> {hosts.outbox}/x.txt")
            await asyncio.sleep(0.15)
        assert hosts.log.of("taken") == []
        assert await hosts.delivered("x.txt") == b"0\n1\n2\n3\n4\n5\n"


async def test_an_empty_file_is_taken_after_a_moment(working: Hosts) -> None:
    (working.outbox / "empty.txt").touch()
    await nothing_taken(working)
    assert await working.delivered("empty.txt") == b""


async def test_a_file_that_is_touched_first_and_written_later_is_not_taken_empty(
    working: Hosts,
) -> None:
    (working.outbox / "x.txt").touch()
    await asyncio.sleep(0.2)
    await shell(f"echo data > {working.outbox}/x.txt")
    assert await working.delivered("x.txt") == b"data\n"
    await working.idle()
    assert list(working.results()) == ["x.txt"]


# Names to leave alone

EXAMPLES = {
    ".*": [".x.csv", ".x.csv.Xa81Lq", ".nfs0000001", ".x.csv.swp"],
    "*~": ["x.csv~"],
    "#*#": ["#x.csv#"],
    "4913": ["4913"],
    "*.tmp": ["x.tmp", "x.csv.tmp", ".tmp"],
    "*.temp": ["x.temp"],
    "*.part": ["x.csv.part"],
    "*.partial": ["x.csv.partial"],
    "*.filepart": ["x.csv.filepart"],
    "*.crdownload": ["x.csv.crdownload"],
    "*.download": ["x.csv.download"],
    "*.swp": ["x.swp"],
    "*.swx": ["x.swx"],
    "*.!*": ["x.csv.!ut", "x.!qB"],
}
ALSO = ["X.CSV.TMP", "Orders.Part"]


async def test_names_in_flight_are_left_alone_until_they_are_renamed(working: Hosts) -> None:
    assert EXAMPLES.keys() == set(IN_FLIGHT)
    names = [name for examples in EXAMPLES.values() for name in examples] + ALSO
    for name in names:
        (working.outbox / name).write_text(name)
    await nothing_taken(working)
    assert sorted(os.listdir(working.outbox)) == sorted(names)
    for number, name in enumerate(names):
        (working.outbox / name).rename(working.outbox / f"r{number}")
    await until(lambda: len(working.results()) == len(names), "what was renamed")
    assert working.results() == {f"r{n}": name.encode() for n, name in enumerate(names)}


async def test_own_globs_are_left_alone_too(hosts: Hosts) -> None:
    hosts.configure(outbox={"ignore": ["*.bak", "~$*"]})
    (hosts.outbox / "there.bak").touch()
    async with agents(hosts):
        await shell("echo 1 > x.bak; echo 2 > '~$x.docx'; echo 3 > x.bak2", cwd=hosts.outbox)
        assert await hosts.delivered("x.bak2") == b"3\n"
        assert len(hosts.log.of("taken")) == 1
    assert set(os.listdir(hosts.outbox)) == {"there.bak", "x.bak", "~$x.docx"}


# At the start


async def test_what_is_there_at_the_start_is_taken(hosts: Hosts) -> None:
    (hosts.outbox / "ip-intel").mkdir()
    for name in ("a.txt", "b.txt", "ip-intel/c.txt", "d.part", ".e"):
        (hosts.outbox / name).write_text(name)
    async with agents(hosts):
        await until(lambda: len(hosts.results()) == 3)
    assert hosts.results() == {"a.txt": b"a.txt", "b.txt": b"b.txt", "c.txt": b"ip-intel/c.txt"}


async def test_what_is_being_written_at_the_start_is_taken_when_it_is_closed(hosts: Hosts) -> None:
    script = "exec 3> x.txt; echo one >&3; read go; echo two >&3; exec 3>&-"
    writer = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdin=asyncio.subprocess.PIPE, cwd=hosts.outbox
    )
    assert writer.stdin is not None
    await until(
        lambda: (hosts.outbox / "x.txt").exists() and (hosts.outbox / "x.txt").stat().st_size
    )
    async with agents(hosts):
        await nothing_taken(hosts)
        writer.stdin.write(b"go\n")
        assert await hosts.delivered("x.txt") == b"one\ntwo\n"
    await writer.wait()


@pytest.mark.needs("root", "setpriv")
async def test_an_agent_that_may_not_ask_for_a_lease_takes_no_half_file_at_the_start(
    hosts: Hosts,
) -> None:
    """Without CAP_LEASE the kernel answers only for one's own files (fcntl(2))."""
    hosts.outbox.chmod(0o777)
    with (hosts.outbox / "x.txt").open("wb", buffering=0) as writer:
        writer.write(b"one ")
        await once_as_nobody(hosts)
        assert os.listdir(hosts.outbox) == ["x.txt"]
        assert [path.read_bytes() for path in hosts.unenriched.glob("0*.txt")] == []


async def once_as_nobody(hosts: Hosts) -> str:
    """Run agent A once as a user without privileges; returns its log."""
    for parent in [hosts.folder, *hosts.folder.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    await shell(f"chown -R nobody {hosts.a.root}/* {hosts.b.root}/*; chown root {hosts.outbox}/*")
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return await ran(*user, *hosts.a.command("agent", "--once"))


@pytest.mark.needs("root", "setpriv")
async def test_an_unreadable_file_is_left_with_a_clear_line(hosts: Hosts) -> None:
    (hosts.outbox / "secret.txt").write_text("secret")
    (hosts.outbox / "open.txt").write_text("open")
    (hosts.outbox / "secret.txt").chmod(0o600)
    log = await once_as_nobody(hosts)
    assert os.listdir(hosts.outbox) == ["secret.txt"]
    assert "Permission denied" in log and "secret.txt" in log
    assert "traceback" not in log.lower()


# Folders


async def test_a_folder_made_while_the_agent_runs_is_a_pipeline(working: Hosts) -> None:
    folder = working.outbox / "ip-intel"
    await shell("mkdir ip-intel; echo one > ip-intel/one.txt", cwd=working.outbox)
    assert await working.delivered("one.txt") == b"one\n"
    await shell("echo two > two.txt", cwd=folder)
    assert await working.delivered("two.txt") == b"two\n"
    answers = working.log.of("answered")
    assert len(answers) == 2


async def test_the_pipelines_name_goes_with_the_request(hosts: Hosts) -> None:
    async with agents(hosts, "a"):
        await shell("mkdir ip-intel; echo one > ip-intel/one.txt", cwd=hosts.outbox)
        await until(lambda: list(hosts.unenriched.glob("*.done")))
    [marker] = hosts.unenriched.glob("*.done")
    assert '"pipeline": "ip-intel"' in marker.read_text()
    assert '"original_name": "one.txt"' in marker.read_text()


REMAKERS: dict[str, str] = {
    "at once": "rmdir p; mkdir p; echo {n} > p/{n}.txt",
    "slowly": "rmdir p; sleep 0.2; mkdir p; sleep 0.1; echo {n} > p/{n}.txt",
    "filled before": "rmdir p; mkdir q; echo {n} > q/{n}.txt; mv q p",
    "another in its place": "mv p old{n}; mkdir p; echo {n} > p/{n}.txt",
}


@pytest.mark.parametrize("how", REMAKERS)
async def test_a_pipelines_folder_removed_and_made_again(how: str, working: Hosts) -> None:
    (working.outbox / "p").mkdir()
    for number in range(3):
        await shell(REMAKERS[how].format(n=number), cwd=working.outbox)
        assert await working.delivered(f"{number}.txt") == b"%d\n" % number


async def test_a_pipelines_folder_removed_with_files_that_wait(working: Hosts) -> None:
    """What was to be looked at is no more: nothing to report, nothing to repeat."""
    (working.outbox / "p").mkdir()
    await until(lambda: working.log.of("watching", folder="outbox/p"))
    await shell(
        "exec 3> p/x.txt; : > p/empty.txt; echo >&3; sleep 0.1; rm -r p", cwd=working.outbox
    )
    await asyncio.sleep(1.5)
    await shell("echo fine > fine.txt", cwd=working.outbox)
    assert await working.delivered("fine.txt") == b"fine\n"


async def test_deeper_folders_are_left_alone(working: Hosts) -> None:
    await shell("mkdir -p p/deeper/still; echo x > p/deeper/x; echo y > p/y", cwd=working.outbox)
    assert await working.delivered("y") == b"y\n"
    await asyncio.sleep(LONG_ENOUGH)
    assert (working.outbox / "p/deeper/x").exists()
    assert len(working.log.of("taken")) == 1


async def test_hidden_folders_are_left_alone(hosts: Hosts) -> None:
    await shell("mkdir .a; echo x > .a/x", cwd=hosts.outbox)
    async with agents(hosts):
        await shell("mkdir .b; echo x > .b/x", cwd=hosts.outbox)
        await nothing_taken(hosts)


async def test_an_outbox_that_is_removed_and_made_again(working: Hosts) -> None:
    await shell("rmdir outbox; sleep 0.1; mkdir outbox; echo 1 > outbox/x", cwd=working.a.root)
    assert await working.delivered("x") == b"1\n"
    await shell("mkdir outbox/p; echo 2 > outbox/p/y", cwd=working.a.root)
    assert await working.delivered("y") == b"2\n"
    await shell("mv outbox gone; mkdir -p outbox/p; echo 3 > outbox/p/z", cwd=working.a.root)
    assert await working.delivered("z") == b"3\n"


# What is not a file


def make_socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


ODD: dict[str, Callable[[Path], None]] = {
    "symlink to a file": lambda path: path.symlink_to("/etc/passwd"),
    "symlink to a folder": lambda path: path.symlink_to(path.parents[1] / "docs"),
    "dangling symlink": lambda path: path.symlink_to("/nonexistent"),
    "fifo": lambda path: os.mkfifo(path),
    "socket": make_socket,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("when", ["before", "while", "moved in"])
async def test_what_is_not_a_file_stays_and_is_mentioned_once(
    kind: str, when: str, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = hosts.a.root / "docs"
    docs.mkdir()
    (docs / "private.txt").write_text("private")
    monkeypatch.chdir(hosts.outbox)  # socket paths are short
    if when == "before":
        ODD[kind](hosts.outbox / "odd")
    async with agents(hosts):
        if when == "while":
            ODD[kind](hosts.outbox / "odd")
        elif when == "moved in":
            ODD[kind](hosts.outbox / ".odd")
            (hosts.outbox / ".odd").rename(hosts.outbox / "odd")
        await shell(f"echo fine > {hosts.outbox}/fine.txt")
        assert await hosts.delivered("fine.txt") == b"fine\n"
        await shell(f"echo fine > {hosts.outbox}/fine2.txt")
        assert await hosts.delivered("fine2.txt") == b"fine\n"
        await hosts.idle(frozenset({"odd"}))
    assert os.path.lexists(hosts.outbox / "odd")
    assert (docs / "private.txt").exists()
    assert len(hosts.log.of("taken")) == 2
    assert len(hosts.log.of("not a regular file; left where it is")) == 1
    assert hosts.log.defects == []


@pytest.mark.needs("root", "mknod")
async def test_a_device_stays(working: Hosts) -> None:
    await ran("mknod", working.outbox / ".zero", "c", "1", "5")
    (working.outbox / ".zero").rename(working.outbox / "zero")
    await until(lambda: working.log.of("not a regular file; left where it is"))
    assert os.listdir(working.outbox) == ["zero"]


async def test_a_hard_link_made_in_the_outbox_is_taken(working: Hosts) -> None:
    """link(2) is how qmail, maildir writers and others put a whole file into place."""
    staged = working.folder / "staged"
    staged.write_bytes(b"whole")
    os.link(staged, working.outbox / "x.txt")
    assert await working.delivered("x.txt") == b"whole"
    assert staged.read_bytes() == b"whole"


async def test_a_producer_that_is_killed_half_way_does_not_stop_the_others(working: Hosts) -> None:
    """What it leaves is taken: no event tells it from a whole file (docs/how-to/producers.md)."""
    writer = await asyncio.create_subprocess_exec(
        "sh", "-c", "exec > x.txt; echo half; exec sleep 60", cwd=working.outbox
    )
    await until(lambda: (working.outbox / "x.txt").exists())
    await nothing_taken(working)
    writer.send_signal(signal.SIGKILL)
    await writer.wait()
    assert await working.delivered("x.txt") == b"half\n"
