"""`roundtrip doctor` on real mounts: full, read-only, hung, dead."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.hosts import Hosts
from tests.mounts.shaky import ShakyMount

pytestmark = pytest.mark.needs("root", "unshare")


def _over(share: Path, options: str, *more: str) -> tuple[str, ...]:
    """Commands that put a tmpfs over a share, with the share's identity on it."""
    return (
        f"cp -r {share}/.roundtrip /run/identity.$$",
        f"mount -t tmpfs -o {options} tmpfs {share}",
        f"cp -r /run/identity.$$ {share}/.roundtrip",
        "rm -r /run/identity.$$",
        *more,
    )


def test_a_read_only_share_is_told_with_the_command_that_mends_it(hosts: Hosts) -> None:
    share = hosts.b / "Unenriched"
    found = hosts.examine_mounted("a", *_over(share, "size=1g", f"mount -o remount,ro {share}"))
    told = found.one("writable", "unenriched")
    assert (told["severity"], told["mend"]) == ("error", f"sudo mount -o remount,rw {share}")
    assert found.code == 10


def test_a_nearly_full_share_is_told(hosts: Hosts) -> None:
    share = hosts.b / "Unenriched"
    fill = f"head -c 150M /dev/zero >{share}/.fill"
    found = hosts.examine_mounted("a", *_over(share, "size=200m", fill))
    assert found.severity("space", "unenriched") == "error"
    assert "nothing new is begun" in found.one("space", "unenriched")["text"]
    assert found.severity("space", "folders") == "ok"


def test_a_full_share_is_told_and_left_clean(hosts: Hosts) -> None:
    share = hosts.b / "Unenriched"
    fill = f"head -c 1m /dev/zero >{share}/.fill 2>/dev/null || true"
    found = hosts.examine_mounted("a", *_over(share, "size=64k", fill))
    assert found.severity("writable", "unenriched") == "error"
    assert "No space left" in found.one("writable", "unenriched")["text"]
    assert found.all("leftovers") == []


def test_a_share_without_inodes_is_told(hosts: Hosts) -> None:
    share = hosts.b / "Unenriched"
    fill = f"for n in $(seq 50); do touch {share}/.x$n || break; done 2>/dev/null"
    found = hosts.examine_mounted("a", *_over(share, "size=1g,nr_inodes=20", fill))
    assert found.severity("inodes", "unenriched") == "error"


def test_folders_on_two_file_systems_are_told(hosts: Hosts) -> None:
    found = hosts.examine_mounted("a", f"mount -t tmpfs tmpfs {hosts.a}/outbox")
    told = found.one("one-file-system")
    assert told["severity"] == "error"
    assert told["text"].startswith(f"{hosts.a}/outbox")


def test_an_own_folder_on_a_read_only_file_system_is_told(hosts: Hosts) -> None:
    found = hosts.examine_mounted("a", f"mount -t tmpfs -o ro tmpfs {hosts.a}/inbox")
    assert "read-only" in found.one("folder-access")["text"]


@pytest.fixture
def shaky(hosts: Hosts) -> Iterator[ShakyMount]:
    """B's share as A mounts it, through FUSE."""
    scratch = hosts.folder / "mounts"
    with ShakyMount(hosts.b / "Unenriched", scratch / "point", scratch / "server") as mount:
        hosts.point["a"] = mount.point
        hosts.configure("a")
        yield mount


@pytest.mark.needs("fuse")
def test_a_fuse_mount_behaves_as_roundtrip_needs_it(hosts: Hosts, shaky: ShakyMount) -> None:
    found = hosts.examine("a")
    assert found.bad() == {"heartbeat"}
    assert "fuse.shaky" in found.one("type", "unenriched")["text"]
    assert "looks first" in found.one("rename", "unenriched")["text"]


@pytest.mark.needs("fuse")
def test_a_mount_that_hangs_behind_a_link_is_a_finding_and_the_rest_is_looked_at(
    hosts: Hosts, shaky: ShakyMount
) -> None:
    link = hosts.a / "link"
    link.symlink_to(shaky.point)
    hosts.point["a"] = link
    hosts.configure("a")
    shaky.freeze()
    found = hosts.examine("a")
    shaky.thaw()
    told = found.one("answers", "unenriched")
    assert told["severity"] == "error"
    assert "does not answer since 5 s (while opening the folder)" in told["text"]
    assert told["mend"] == f"sudo fusermount3 -uz {shaky.point}; sudo mount {shaky.point}"
    assert found.severity("events", "enriched") == "ok"
    assert found.severity("python") == "ok"
    assert found.seconds < 10


@pytest.mark.needs("fuse")
def test_a_mount_that_hangs_in_the_middle_tells_where_and_what_came_before(
    hosts: Hosts, shaky: ShakyMount
) -> None:
    shaky.fault("rename", delay=60)
    found = hosts.examine("a")
    shaky.heal()
    assert "while renaming a file" in found.one("answers", "unenriched")["text"]
    assert found.severity("identity", "unenriched") == "ok"
    assert found.severity("exclusive-create", "unenriched") == "ok"
    assert found.all("fsync", "unenriched") == []


@pytest.mark.needs("fuse")
@pytest.mark.parametrize(
    ("op", "error", "key", "severity"),
    [
        ("fsync", "EIO", "fsync", "warning"),
        ("rename", "EACCES", "rename", "error"),
        ("mkdir", "EDQUOT", "writable", "error"),
        ("create", "ENOSPC", "writable", "error"),
        ("readdir", "EIO", "visibility", "warning"),
        ("statfs", "EIO", "answers", "error"),
    ],
)
def test_calls_that_fail_are_told_each_by_its_check(
    hosts: Hosts, shaky: ShakyMount, op: str, error: str, key: str, severity: str
) -> None:
    skip = 1 if op == "readdir" else 0  # the first look is for leftovers
    shaky.fault(op, error=error, skip=skip)
    found = hosts.examine("a")
    shaky.heal()
    told = found.one(key, "unenriched")
    assert told["severity"] == severity
    assert os.strerror(getattr(errno, error)) in told["text"]


@pytest.mark.needs("fuse")
def test_a_home_on_a_network_file_system_is_polled(hosts: Hosts, shaky: ShakyMount) -> None:
    hosts.configure(
        "b", shares={"unenriched": str(shaky.point), "enriched": str(hosts.a / "Enriched")}
    )
    hosts.configure("b", watch={"interval": "200ms"})
    found = hosts.examine("b")
    assert found.severity("type", "unenriched") == "notice"
    assert "polls every 0.2 s" in found.one("events")["text"]


@pytest.mark.needs("fuse")
def test_a_heartbeat_that_may_not_be_read_is_an_error(hosts: Hosts, shaky: ShakyMount) -> None:
    name = "alive-a-01ARZ3NDEKTSV4RRFFQ69G5FAV.json"
    (hosts.b / "Unenriched/.roundtrip" / name).write_text('{"time": "2026-01-01T00:00:00Z"}')
    hosts.configure(
        "b", shares={"unenriched": str(shaky.point), "enriched": str(hosts.a / "Enriched")}
    )
    shaky.fault("open", error="EACCES", match="alive")
    told = hosts.examine("b").one("heartbeat")
    assert told["severity"] == "error"
    assert "Permission denied" in told["text"]


@pytest.mark.needs("fuse")
def test_a_mount_whose_server_died_is_told_with_a_command_that_mounts_it_anew(
    hosts: Hosts, shaky: ShakyMount
) -> None:
    shaky.crash()
    found = hosts.examine("a")
    told = found.one("there", "unenriched")
    assert "not connected" in told["text"]
    assert told["mend"].startswith("sudo fusermount3 -uz ")
