"""What `roundtrip cache purge` does to all ledgers of this host at once.

free ledger --its lock held--> purged here
one in use  --a wish--> purged by the agent or worker that holds it
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from roundtrip.enrich.store import wishes
from roundtrip.enrich.store.desk import purged as purged_file
from roundtrip.enrich.store.wishes import Wish
from roundtrip.errors import BusyError, RoundtripError, ShareError
from roundtrip.ledgers import PURGE, Ledger
from roundtrip.shares.lock import AgentLock, holder_of

_PAUSE = 0.05  # seconds between two looks whether who was asked is done
_SLOW = 3.0  # seconds after which we say what we wait for


class _Purge:
    """Of one ledger. Who holds it may stop or start meanwhile, so both ways are tried in turn."""

    def __init__(self, ledger: Ledger, wish: Wish) -> None:
        self.owner = ledger.owner
        self._ledger = ledger
        self._wish = wish
        self._path: Path | None = None

    def step(self) -> int | None:
        """How many answers went; None as long as it isn't done. Raises OSError, ShareError."""
        removed = wishes.result(self._path) if self._path else None
        if removed is None:
            removed = self._here()
        if removed is None and self._path is None:
            self._path = wishes.make(self._ledger.wishes, self._wish)
        return removed

    def _here(self) -> int | None:
        """Do it in this process; None while an agent or worker has the file."""
        if holder_of(self._ledger.lock) is not None:
            return None
        lock = AgentLock(self._ledger.lock, PURGE)
        try:
            lock.acquire()
        except BusyError:
            return None  # Somebody started just now.
        try:
            return purged_file(self._ledger.file, self._wish)
        finally:
            lock.release()

    def end(self) -> None:
        """Ask for nothing more."""
        if self._path is not None:
            wishes.withdraw(self._path)


def purged(ledgers: Sequence[Ledger], wish: Wish) -> int:
    """Remove the cached answers wished away from all of them; returns how many went.

    Raises:
        ShareError: one can't be used; the others have been purged.
    """
    left = [_Purge(ledger, wish) for ledger in ledgers if ledger.file.exists()]
    removed, failures, began, told = 0, list[RoundtripError](), time.monotonic(), False
    try:
        while left:
            for each in list(left):
                try:
                    count = each.step()
                except (OSError, ShareError) as error:
                    failures.append(_told(each, error))
                    count = 0
                if count is not None:
                    removed += count
                    left.remove(each)
                    each.end()
            if left and not told and time.monotonic() - began > _SLOW:
                told = True
                names = ", ".join(each.owner for each in left)
                print(f"waiting for {names}, running here", file=sys.stderr)
            if left:
                time.sleep(_PAUSE)
    finally:
        for each in left:
            each.end()
    if failures:
        raise failures[0]
    return removed


def _told(purge: _Purge, error: OSError | ShareError) -> RoundtripError:
    if isinstance(error, ShareError):
        return error
    return ShareError(f"{purge.owner}: its cache can't be purged: {error}")
