"""Whether a path leads to another host's disk: told from the mount table, without touching it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from roundtrip.mounts import leads_away

TABLE = """\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /mnt/nas rw - nfs4 nas:/export rw
31 30 8:1 / /mnt/nas/disk rw - xfs /dev/sda1 rw
32 27 0:41 / /srv/tmp rw - tmpfs tmpfs rw
40 27 0:48 / /auto rw - autofs systemd-1 rw,direct
"""

LINKS = {
    "/srv/share": "/mnt/nas/share",
    "/srv/relative": "../mnt/nas",
    "/srv/chain": "relative/x",
    "/srv/home": "tmp/./here",
    "/srv/loop": "loop",
    "/srv/up": "/mnt/nas/../other",
}


def reader(asked: list[str]) -> Callable[[str], str]:
    """readlink(2) of LINKS that notes what it is asked."""

    def readlink(path: str) -> str:
        asked.append(path)
        if path in LINKS:
            return LINKS[path]
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    return readlink


@pytest.mark.parametrize(
    ("path", "away"),
    [
        ("/mnt/nas", True),
        ("/mnt/nas/share", True),
        ("/mnt/nasty/share", False),
        ("/srv/share", True),
        ("/srv/share/deeper", True),
        ("/srv/relative/x", True),
        ("/srv/chain", True),
        ("/srv/home", False),
        ("/srv/tmp", False),
        ("/srv/nothing/here", False),
        ("/auto/x", True),
        ("/srv/loop/x", False),
        ("/srv/../mnt/nas", True),
        ("/", False),
    ],
)
def test_a_path_leads_away_if_any_part_of_it_is_on_a_network_file_system(
    path: str, away: bool
) -> None:
    asked: list[str] = []
    assert leads_away(TABLE, path, reader(asked)) is away
    assert not [each for each in asked if each.startswith(("/mnt/nas/", "/auto"))]
    assert "/mnt/nas" not in asked


def test_a_way_through_a_network_mount_leads_away_wherever_it_ends() -> None:
    # Following it needs an answer of that mount.
    assert leads_away(TABLE, "/srv/up", reader([]))
    assert leads_away(TABLE, "/mnt/nas/disk/x", reader([]))


def test_a_system_without_a_table_is_taken_for_local() -> None:
    assert not leads_away("", "/srv/share", reader([]))
