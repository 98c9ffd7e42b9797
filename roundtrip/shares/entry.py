"""What is known of a name or a file system without opening a file: the words of the port."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from roundtrip.errors import ShareError


class NotAFile(ShareError):
    """A symlink, folder, device or FIFO stands where a regular file should be."""


class Kind(Enum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


class Entry(NamedTuple):
    """What is known of a name without opening it; symlinks are not followed.

    `changed` is the time of the content's last change in nanoseconds since 1970, by the clock of
    the host that holds the folder.
    """

    kind: Kind
    size: int
    changed: int


class Space(NamedTuple):
    """Room on the file system that holds a folder, in bytes; `free` is what this user may have."""

    free: int
    total: int
