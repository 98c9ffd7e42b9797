"""Whether a file is complete, by what told of it, by its marker, or by having been left alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from roundtrip.watching import finding
from roundtrip.watching.finding import Found, NotYet
from roundtrip.watching.plan import Plan
from roundtrip.watching.telling import Teller

FOUND = "found"
"""The event of a file that only a listing told of, which says nothing about its being complete."""
BUSY = 1.0
"""Seconds until a file that is being written is looked at again."""
_EMPTY_SETTLE = 1.0  # touch(1) and some FTP servers close a file empty before they write it
_UNSURE_AGE = 10.0  # of a listed file, where the kernel doesn't tell whether it is being written
_FIRST_DELAY, _LAST_DELAY = 1.0, 60.0  # between looks at a file that is not what its marker says


class Readiness:
    """Remembers files that are not complete, as long as they are not."""

    def __init__(
        self, plan: Plan, teller: Teller, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plan = plan
        self._teller = teller
        self._clock = clock
        self._delays: dict[str, float] = {}  # of files that are not what their marker says
        self._seen: dict[str, tuple[str, float]] = {}  # identity, and since when

    def wait_of(self, path: str, full: str, found: Found, event: str) -> float | None:
        """Seconds until it is looked at again; 0: when it is told of; None: it is complete."""
        if self._plan.on == "done":
            wait = self._unmarked(path, full)
            if wait is not None:
                return wait
        elif found.writing:
            return BUSY
        left = self._settle(found, event) - max(finding.age(found), self._left_alone(path, found))
        if left > 0:
            return left
        self._seen.pop(path, None)
        return None

    def forget(self, path: str) -> None:
        """The file has gone."""
        self._seen.pop(path, None)
        self._delays.pop(path, None)

    def _settle(self, found: Found, event: str) -> float:
        settle = self._plan.settle
        if self._plan.on == "done":
            return settle
        if found.size == 0 and self._plan.on == "close_write":
            settle = max(settle, _EMPTY_SETTLE)
        if event == FOUND and found.writing is None:
            settle = max(settle, _UNSURE_AGE)
        return settle

    def _left_alone(self, path: str, found: Found) -> float:
        """How long it has been as it is, as we saw it: its times may be of another host's clock."""
        now = self._clock()
        seen = self._seen.get(path)
        if seen is None or seen[0] != found.identity:
            seen = self._seen[path] = (found.identity, now)
        return now - seen[1]

    def _unmarked(self, path: str, full: str) -> float | None:
        try:
            finding.check_marker(full, digest=False)
        except NotYet as error:
            return self.doubt(path, error) if str(error) else 0.0
        return None

    def doubt(self, path: str, error: NotYet) -> float:
        """The file is not what its marker says: seconds until it is looked at again."""
        before = self._delays.get(path)
        if before is None:
            self._teller.trouble(f"{self._teller.shown(path)}: not complete: {error}")
        delay = _FIRST_DELAY if before is None else min(before * 2, _LAST_DELAY)
        self._delays[path] = delay
        return delay
