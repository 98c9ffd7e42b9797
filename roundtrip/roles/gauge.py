"""How much of a disk is free: what it said last, less what was written since.

The disk of a share is asked across the network, so it is not asked before each file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from roundtrip.shares.port import SharedFolder, Space

_FRESH = 1.0  # seconds that a disk's answer is believed, less what was written since
_SHARE = 16  # the part of what lies above the reserve that may be written before asking again
_UNTOLD = frozenset({errno.ENOSYS, errno.EOPNOTSUPP})  # from SFTP servers without statvfs


class Gauge:
    """Measures the disk below one folder; `reserve` in bytes, as all sizes."""

    def __init__(self, folder: SharedFolder, reserve: int, clock: Callable[[], float]) -> None:
        self.said = Space(0, 0)
        self._folder = folder
        self._reserve = reserve
        self._clock = clock
        self._measured = -_FRESH
        self._written = 0  # since the disk was asked
        self._claimed = 0  # being written now

    @property
    def free(self) -> int:
        """What is free for all we know; where the disk doesn't tell, as much as anybody needs."""
        # FUSE file systems without statfs report a size of 0: then only writing can tell.
        return self.said.free - self._written - self._claimed if self.said.total else 2**63

    async def has(self, level: int) -> bool:
        """Whether so much is free; the disk is asked unless its last answer is good enough.

        Raises:
            OSError: the disk can't be asked.
        """
        if not (self._is_known() and self.free >= level):
            await self.measure()
        return self.free >= level

    def _is_known(self) -> bool:
        """Whether the disk's last answer is still good.

        Others write there as well, as fast as we do for all we know: so the nearer the reserve is,
        the less may be written on the strength of one answer.
        """
        margin = (self.said.free - self._reserve) // _SHARE
        is_fresh = self._clock() - self._measured < _FRESH
        return is_fresh and (self._written + self._claimed <= margin or self.said.total == 0)

    async def measure(self) -> None:
        """Ask the disk.

        Raises:
            OSError: it can't be asked.
        """
        self._written = 0  # What is written while we ask may count twice: that errs safely.
        try:
            self.said = await self._folder.space()
        except OSError as error:
            if error.errno not in _UNTOLD:
                raise
            self.said = Space(0, 0)
        self._measured = self._clock()

    def forget(self) -> None:
        """The disk's last answer is not good any more."""
        self._measured = -_FRESH

    def begin(self, need: int) -> None:
        """The writing of so much begins."""
        self._claimed += need

    def end(self, need: int, *, is_written: bool) -> None:
        """It has ended."""
        self._claimed -= need
        if is_written:
            self._written += need
