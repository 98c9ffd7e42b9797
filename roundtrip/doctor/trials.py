"""Trials of a file system: each makes files in an empty folder and says what happened.

They return what can be written as JSON; OSErrors that are no answer are their callers'.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from roundtrip.protocol.names import marker_of, part_of
from roundtrip.protocol.progress import progress_name
from roundtrip.shares.files import names
from roundtrip.shares.outcomes import rename_without_replacing

LONGEST = len(part_of(marker_of("n" * 200)))
"""Bytes of the longest name that the protocol makes: a marker in flight."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SEEN_WITHIN = 3.0  # seconds
_OWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"
OWN_NAMES = (_OWN, marker_of(_OWN), f".{_OWN}.0a1b2c3d.part", progress_name(_OWN, 12))
"""Names as our own agents make them."""
OTHER_NAMES = ("Orders~1.CSV", "a@b+c-d_e", "ends-with.", "nul.txt", "v1..2")
"""Names that another requester may choose."""


def create(folder: int, name: str, content: bytes = b"probe\n", *, sync: bool = False) -> None:
    """Make a file that must not exist yet."""
    opened = os.open(name, _NEW, 0o666, dir_fd=folder)
    try:
        os.write(opened, content)
        if sync:
            os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _refused(number: int) -> Iterator[list[bool]]:
    """Whether the body is refused with this errno: the list then holds True."""
    said: list[bool] = []
    try:
        yield said
    except OSError as error:
        if error.errno != number:
            raise
        said.append(True)


def look_written(folder: int) -> dict[str, Any]:
    """Write a file: its mode and owner, and its time between our clock's before and after."""
    before = time.time()
    create(folder, "written")
    after = time.time()
    found = os.stat("written", dir_fd=folder)
    return {
        "mode": found.st_mode & 0o777,
        "owner": found.st_uid,
        "before": before,
        "after": after,
        "time": found.st_mtime_ns / 1e9,
        "nanoseconds": found.st_mtime_ns % 1_000_000_000,
    }


def look_exclusive(folder: int) -> bool:
    """Whether O_EXCL refuses a name that exists."""
    create(folder, "exclusive")
    with _refused(errno.EEXIST) as said:
        create(folder, "exclusive")
    return bool(said)


def look_rename(folder: int) -> str:
    """What a rename that must not replace does: `refuses`, `replaces`, or has to be `emulated`."""
    create(folder, ".from.part")
    try:
        # First to a free name: where one is taken, the kernel refuses without asking the server.
        rename_without_replacing(folder, ".from.part", folder, "renamed")
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        os.rename(".from.part", "renamed", src_dir_fd=folder, dst_dir_fd=folder)
        return "emulated"
    create(folder, ".again.part")
    with _refused(errno.EEXIST) as said:
        rename_without_replacing(folder, ".again.part", folder, "renamed")
    return "refuses" if said else "replaces"


def look_replace(folder: int) -> bool:
    """Whether a plain rename replaces an existing name; nothing here needs it."""
    create(folder, ".new.part")
    create(folder, "old")
    try:
        os.rename(".new.part", "old", src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        return False
    return True


def look_case(folder: int) -> bool:
    """Whether names that differ in case only are different."""
    create(folder, "Upper")
    try:
        os.stat("uPPER", dir_fd=folder)
    except FileNotFoundError:
        return True
    return False


def look_long(folder: int) -> bool:
    """Whether the longest name that the protocol makes can be used."""
    name = "n" * LONGEST
    with _refused(errno.ENAMETOOLONG) as said:
        create(folder, name)
    return not said and name in names(folder)


def look_names(folder: int) -> list[str]:
    """Names that can't be made, or come back as others when the folder is listed."""
    refused = []
    for name in (*OWN_NAMES, *OTHER_NAMES):
        try:
            create(folder, name)
        except OSError:
            refused.append(name)
    listed = set(names(folder))
    return [name for name in (*OWN_NAMES, *OTHER_NAMES) if name in refused or name not in listed]


def look_visible(folder: int) -> float | None:
    """Seconds until a listing has a new name and lacks a removed one; None: it never did."""
    began = time.monotonic()
    create(folder, "seen")
    while "seen" not in names(folder):
        if not _go_on(began):
            return None
    os.unlink("seen", dir_fd=folder)
    while "seen" in names(folder):
        if not _go_on(began):
            return None
    return time.monotonic() - began


def _go_on(began: float) -> bool:
    time.sleep(0.01)
    return time.monotonic() - began < SEEN_WITHIN


def look_sync(folder: int) -> bool:
    """Whether a file and its folder can be made durable; OSError if not."""
    create(folder, "synced", sync=True)
    os.fsync(folder)
    return True


def look_link(folder: int) -> bool:
    """Whether there are hard links; nothing here needs them."""
    create(folder, "linked")
    try:
        os.link("linked", "link", src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        return False
    return True


TRIALS: tuple[tuple[str, str, Callable[[int], Any]], ...] = (
    ("written", "writing a file", look_written),
    ("exclusive", "making a file that exists", look_exclusive),
    ("rename", "renaming a file", look_rename),
    ("replace", "renaming over a file", look_replace),
    ("case", "looking for a name in another case", look_case),
    ("long", "making a file with a long name", look_long),
    ("names", "making files with unusual names", look_names),
    ("visible", "listing what was just made and removed", look_visible),
    ("sync", "making a file durable", look_sync),
    ("link", "making a hard link", look_link),
)
"""Each trial: the name of its fact, what it does in words, and the function."""
