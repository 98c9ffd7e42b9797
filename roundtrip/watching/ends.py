"""How runs end: remembered durably, told, tried again, or put aside as a dead letter.

    outcome in the claim (by the run) --> dead letter, if it is one --> journal --> claim removed

Done again from any point, it comes to the same; so it does for claims that an earlier watch left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from roundtrip.watching import claim, dead
from roundtrip.watching.claim import Left, Outcome
from roundtrip.watching.journal import DONE, FAILED, RETRY, Entry, Memory
from roundtrip.watching.plan import LONGEST_PAUSE, Plan
from roundtrip.watching.telling import Teller

_FLUSH = 0.2  # seconds until what was remembered is on disk; until then the claims say it
_FLUSH_AT = 100  # or so many
_FLUSH_AGAIN = 5.0
_LOOK = 0.2  # seconds between two looks whether a run of an earlier watch has ended
_INTERRUPTIONS = 5
"""A run that was interrupted so often is a dead letter: it may be what brings the machine down."""
UNSEEN = "interrupted: nobody saw how the command ended"


class Ends:
    """Takes outcomes. `claims` is None where files are only told; `failed` counts dead letters."""

    def __init__(
        self,
        plan: Plan,
        top: str,
        journal: Memory,
        claims: Path | None,
        teller: Teller,
        *,
        numbered: bool,
    ) -> None:
        self.journal = journal
        self.failed = 0
        self._plan = plan
        self._top = top
        self._claims = claims
        self._teller = teller
        self._numbered = numbered
        self._recorded: list[Path] = []  # claims whose end the journal has, not yet on disk
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False

    def told(self, entry: Entry, event: str, size: int) -> None:
        """Tell of a file for which nothing is run.

        Raises:
            BrokenPipeError: nobody reads that.
        """
        if self._teller.form == "json":
            self._teller.record(entry.path, event, size)
        else:
            self._teller.file(entry.path)
        self._remember(replace(entry, outcome=DONE))

    def ended(
        self, entry: Entry, outcome: Outcome, event: str, size: int | None, *, final: bool = False
    ) -> None:
        """Take the outcome of a run; after a `final` failure it is not tried again."""
        if outcome.ok:
            identity = outcome.identity or entry.identity
            entry = replace(entry, outcome=DONE, identity=identity, reason=None)
        elif not final and entry.attempts - entry.interruptions <= self._plan.retries:
            again = time.time() + self._pause(entry)
            entry = replace(entry, outcome=RETRY, reason=outcome.reason, again=again)
        else:
            entry = self._failed(replace(entry, reason=outcome.reason), outcome)
        self._remember(entry)
        self._tell(entry, event, size, outcome)

    def _pause(self, entry: Entry) -> float:
        pause: float = self._plan.pause * 2 ** min(entry.attempts - 1, 40)
        return min(pause, LONGEST_PAUSE)

    def interrupted(self, entry: Entry) -> None:
        """Take a run whose end nobody saw, and which is certainly over."""
        entry = replace(entry, reason=UNSEEN, interruptions=entry.interruptions + 1)
        if self._plan.interrupted == "retry" and entry.interruptions < _INTERRUPTIONS:
            entry = replace(entry, outcome=RETRY, again=time.time())
        else:
            entry = self._failed(entry, None)
        self._remember(entry)
        self._tell(entry, "found", None, None)

    def _failed(self, entry: Entry, outcome: Outcome | None) -> Entry:
        self.failed += 1
        entry = replace(entry, outcome=FAILED, again=None)
        if self._plan.dead is None:
            return entry
        try:
            put = dead.bury(self._plan.dead, self._top, entry, outcome, numbered=self._numbered)
        except OSError as error:
            self._teller.trouble(f"{self._plan.dead}: no room for a dead letter: {error.strerror}")
            return entry
        return replace(entry, dead=put)

    def wait_of(self, entry: Entry) -> float:
        """Seconds until a file is tried again."""
        return min((entry.again or 0.0) - time.time(), LONGEST_PAUSE)

    def _tell(self, entry: Entry, event: str, size: int | None, outcome: Outcome | None) -> None:
        self._teller.record(
            entry.path,
            event,
            size,
            outcome=entry.outcome,
            attempt=entry.attempts,
            exit=outcome.code if outcome else None,
            seconds=outcome.seconds if outcome else None,
            reason=entry.reason,
            dead_letter=entry.dead,
        )
        if entry.outcome != DONE:
            self._teller.trouble(
                f"{self._teller.shown(entry.path)}: {entry.reason}; {_after(entry)}"
            )

    # On disk

    def forget(self, path: str) -> None:
        """A file has gone."""
        self.journal.forget(path)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH, self.flush)

    def _remember(self, entry: Entry) -> None:
        self.journal.add(entry)
        if self._claims is not None:
            self._recorded.append(self._claims / str(entry.run))
        if len(self._recorded) >= _FLUSH_AT and not self._is_full:
            self.flush()
        else:
            self._flush_soon()

    def flush(self) -> None:
        """Have everything on disk, and then remove the claims that said the same."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self.journal.flush()
        except OSError as error:
            if not self._is_full:
                self._is_full = True
                self._teller.trouble(f"the journal can't be written: {error.strerror}")
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_FLUSH_AGAIN, self.flush)
            return
        self._is_full = False
        for path in self._recorded:
            path.unlink(missing_ok=True)
        self._recorded.clear()
        if self.journal.is_behind:
            self._flush_soon()

    # What an earlier watch left

    def left(self) -> Iterator[Entry]:
        """Take what an earlier watch has left; returns the runs that are still going on."""
        if self._claims is None:
            return
        for path in list(claim.left_in(self._claims)):
            try:
                found = claim.take(path)
            except FileNotFoundError:
                continue  # Its run could not be begun.
            except BlockingIOError:
                entry = claim.running_entry(path)
                if entry is not None:
                    yield entry
                continue
            self._settle(path, found)

    def _settle(self, path: Path, found: Left | None) -> None:
        known = self.journal.get(found.entry.path) if found is not None else None
        if found is None or (known is not None and known.run >= found.entry.run):
            path.unlink(missing_ok=True)  # Never begun, or its end is in the journal.
        elif found.outcome is None:
            self.interrupted(found.entry)
        else:
            self.ended(found.entry, found.outcome, "found", None)

    async def settle(self, entry: Entry) -> None:
        """Wait until a run is over of which nobody will tell, and take its end from its claim."""
        assert self._claims is not None
        path = self._claims / str(entry.run)
        while True:
            with contextlib.suppress(BlockingIOError):
                try:
                    found = claim.take(path)
                except FileNotFoundError:
                    return  # It was never begun.
                break
            await asyncio.sleep(_LOOK)
        self._settle(path, found)

    def close(self) -> None:
        """Have everything on disk."""
        self.flush()
        self.flush()  # What was forgotten.
        if self._timer is not None:
            self._timer.cancel()
        self.journal.close()


def _after(entry: Entry) -> str:
    if entry.outcome == RETRY:
        wait = max(0.0, (entry.again or 0.0) - time.time())
        return f"tried again in {wait:.0f} s" if wait >= 1 else "tried again"
    if entry.dead is not None:
        return f"moved to {os.fspath(entry.dead)}"
    return "remembered as failed (--retry-failed)"
