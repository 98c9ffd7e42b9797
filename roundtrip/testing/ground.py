"""Where a torture takes place: a folder of its own on the user's share, and one on the own disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.protocol.states import Role
from roundtrip.shares.identity import establish
from roundtrip.testing.staff import DEAD, DESK, DUE

OLD = 86400.0
"""Seconds after which another torture's folder is one whose process was killed."""

_NAME = re.compile(r"\.roundtrip-torture-[0-9a-f]{8}")


def new_name() -> str:
    """A name for a torture's folder on the share."""
    return f".roundtrip-torture-{secrets.token_hex(4)}"


def check(share: Path) -> None:
    """See whether there can be a torture here.

    Raises:
        ShareError: it isn't an existing folder that can be written.
    """
    if not share.is_dir():
        raise ShareError(f"{share}: not an existing folder; name one on the mounted share")
    if not os.access(share, os.R_OK | os.W_OK | os.X_OK):
        raise ShareError(f"{share}: can't be written; the agents' user must be able to")


class Ground:
    """The folders of one torture, on the share and on the own disk; nothing else is touched."""

    def __init__(self, share: Path, name: str, private: Path) -> None:
        self.shared = share / name
        self.private = private

    async def make(self) -> None:
        """Make the folders.

        Raises:
            ShareError: they can't be made.
        """
        for name, home in (("unenriched", Role.RESPONDER), ("enriched", Role.REQUESTER)):
            await establish(self.shared / name, home)
        (self.shared / "rules").mkdir()
        for label in (*(f"a/{name}" for name in DESK), DUE, DEAD, "b/kept", "b/quarantine"):
            (self.private / label).mkdir(parents=True)

    def path(self, label: str) -> Path:
        """Where the folder of a label is."""
        return (self.private if "/" in label else self.shared) / label

    def remove(self) -> None:
        """Take everything away again."""
        shutil.rmtree(self.shared, ignore_errors=True)
        shutil.rmtree(self.private, ignore_errors=True)


def sweep(share: Path, now: float) -> int:
    """Remove what killed tortures left a day ago; `now` by the share's clock. Returns how many."""
    removed = 0
    for entry in os.scandir(share):
        if not _NAME.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
            continue
        with suppress(OSError):  # Another torture was faster, or it isn't ours to remove.
            if now - entry.stat(follow_symlinks=False).st_mtime > OLD:
                shutil.rmtree(entry.path)
                removed += 1
    return removed
