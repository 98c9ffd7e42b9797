"""The choice of a backend, as a table over mount tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from roundtrip import mounts
from roundtrip.watch.choose import choose, choose_from, is_remote
from roundtrip.watch.mounts import mount_of

TABLE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:40 / /mnt/nas rw shared:2 master:3 - nfs4 nas:/export rw,vers=4.2
31 30 8:1 / /mnt/nas/local\\040disk rw - xfs /dev/sda1 rw
32 31 0:41 / /mnt/nas/local\\040disk/far rw - fuse.sshfs a@b:/ rw
33 27 0:42 / /mnt/tab\\011nl\\012back\\134slash rw - cifs //nas/x rw
34 27 0:43 / /srv/twice rw - tmpfs tmpfs rw
35 34 0:44 / /srv/twice rw - nfs nas:/twice rw
36 27 0:45 / /hidden/below rw - nfs4 nas:/below rw
37 27 8:2 / /hidden rw - ext4 /dev/sdb rw
38 27 0:46 / /media/usb rw - fuseblk /dev/sdc1 rw
39 27 0:47 / /mnt/line\u2028sep\u00a0rate rw - 9p host rw
40 27 0:48 / /auto rw - autofs systemd-1 rw,direct
"""


@pytest.mark.parametrize(
    ("path", "fstype", "backend"),
    [
        ("/", "ext4", "inotify"),
        ("/srv/roundtrip", "ext4", "inotify"),
        ("/mnt/nas", "nfs4", "poll"),
        ("/mnt/nas/Unenriched", "nfs4", "poll"),
        ("/mnt/nasty", "ext4", "inotify"),
        ("/mnt/nas/local disk/x", "xfs", "inotify"),
        ("/mnt/nas/local disk/far/x", "fuse.sshfs", "poll"),
        ("/mnt/tab\tnl\nback\\slash/x", "cifs", "poll"),
        ("/srv/twice", "nfs", "poll"),
        ("/hidden/below/x", "ext4", "inotify"),
        ("/media/usb/x", "fuseblk", "inotify"),
        ("/mnt/line\u2028sep\u00a0rate", "9p", "poll"),
        ("/auto", "autofs", "poll"),
    ],
)
def test_the_mount_that_a_path_is_on_decides(path: str, fstype: str, backend: str) -> None:
    mount = mount_of(TABLE, path)
    assert mount is not None
    assert mount.fstype == fstype
    assert choose_from(TABLE, path).backend == backend


@pytest.mark.parametrize(
    "fstype",
    ["nfs", "nfs4", "cifs", "smb3", "fuse", "fuse.sshfs", "9p", "ceph", "afs", "virtiofs"],
)
def test_what_another_host_may_change_is_remote(fstype: str) -> None:
    assert is_remote(fstype)


@pytest.mark.parametrize(
    "fstype", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "f2fs", "vfat"]
)
def test_what_only_this_kernel_changes_is_not_remote(fstype: str) -> None:
    assert not is_remote(fstype)


def test_the_reason_names_file_system_and_mount_point() -> None:
    reason = choose_from(TABLE, "/mnt/nas/Unenriched").reason
    assert reason == (
        "it is on nfs4 (mounted at /mnt/nas),"
        " where changes made by another host send no events here"
    )


def test_a_path_outside_the_table_gets_events() -> None:
    assert choose_from("", "/srv").backend == "inotify"


def test_a_table_without_a_root_still_counts() -> None:
    assert choose_from("30 27 0:40 / /mnt rw - nfs4 nas:/ rw\n", "/mnt/x").backend == "poll"


@pytest.mark.parametrize("wanted", ["inotify", "poll"])
def test_what_the_configuration_wants_is_not_questioned(tmp_path: Path, wanted: str) -> None:
    assert choose(tmp_path, wanted).backend == wanted


def test_a_system_without_a_mount_table_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "none"))
    assert choose(tmp_path).backend == "poll"


def test_this_machine_s_own_table_is_understood() -> None:
    choice = choose(Path("/proc/self"))
    assert choice.backend == "inotify"
    assert choice.reason.startswith("it is on proc (mounted at /proc)")


def test_a_link_is_followed_to_the_mount_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    assert "(mounted at /proc)" in choose(tmp_path / "link").reason
