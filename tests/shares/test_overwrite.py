"""Writing over a file on a disk that is really full."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundtrip.shares.writing import overwrite

pytestmark = pytest.mark.needs("mount")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A full tmpfs with one file, `health`, of one block."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", tmp_path], check=True)
    opened = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "health").write_bytes(b"x" * 100)
    with (tmp_path / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(bytes(4096))
    try:
        yield opened
    finally:
        os.close(opened)
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("size", [0, 50, 100, 4096])
def test_what_fits_into_its_blocks_takes_no_room(folder: int, tmp_path: Path, size: int) -> None:
    with pytest.raises(OSError):
        (tmp_path / "other").write_bytes(b"y")
    overwrite(folder, "health", b"y" * size)
    assert (tmp_path / "health").read_bytes() == b"y" * size


def test_what_does_not_fit_changes_nothing(folder: int, tmp_path: Path) -> None:
    with pytest.raises(OSError) as told:
        overwrite(folder, "health", b"y" * 4097)
    assert told.value.errno == errno.ENOSPC
    assert (tmp_path / "health").read_bytes() == b"x" * 100


def test_no_link_is_followed_and_nothing_is_made(folder: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("health")
    for name in ("link", "missing"):
        with pytest.raises(OSError):
            overwrite(folder, name, b"y")
    assert (tmp_path / "health").read_bytes() == b"x" * 100
    assert not (tmp_path / "missing").exists()
