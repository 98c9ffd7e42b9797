"""Proof, before each publish, that what is open is still the share that was verified."""

from __future__ import annotations

import os

from roundtrip.shares import files
from roundtrip.shares.verdicts import ShareGone

LIMIT = 64 * 1024
"""An identity is not larger than this, in bytes."""

_Looks = tuple[int, int, int, int]


class Seal:
    """An open share's identity file as it was when it was verified, and how it looked.

    `folder` is the share's descriptor, `path` leads to it, `identity` is the file's name in it.
    """

    def __init__(self, folder: int, path: str, identity: str) -> None:
        self._folder = folder
        self._path = path
        self._identity = identity
        self._looks: _Looks | None = None
        self.content: bytes | None = None
        """What the identity file says; None if there is none."""
        try:
            self.content, self._looks = self._read()
        except FileNotFoundError:
            return

    def check(self) -> None:
        """Return if the path leads to the open folder, and the identity there is the same.

        What follows goes through the same descriptor: a mount that goes away after this can't make
        anybody write into the empty mount point. Asking the path tells early that it has gone.

        Raises:
            ShareGone: it is another one, or none.
            OSError: that can't be told.
        """
        if not files.leads_to(self._path, self._folder):
            raise ShareGone(self._path, "something else is at its path, or nothing")
        try:
            if self._look() == self._looks:
                return
            content, looks = self._read()
        except FileNotFoundError:
            raise ShareGone(self._path, f"{self._identity} has gone") from None
        if content != self.content:
            raise ShareGone(self._path, f"{self._identity} says something else")
        self._looks = looks

    def _look(self) -> _Looks:
        found = os.stat(self._identity, dir_fd=self._folder)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> tuple[bytes, _Looks]:
        looks = self._look()  # First: what changes meanwhile is read again the next time.
        return files.read(self._folder, self._identity, LIMIT, self._path), looks
