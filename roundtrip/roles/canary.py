"""The canary: a tiny exchange that A sends through the whole way again and again, to measure it.

    pending/<ULID>-~canary --published--> B sends the same bytes back --collected, verified--> gone

It is an exchange like any other, so whatever keeps those whole and finishes them after a kill holds
for it as well; only its end differs: nothing of it is delivered, archived or counted as work. There
is one at a time. One that is not back when the next is due, or comes back with anything but its own
bytes, is an alarm until one comes back well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roundtrip.protocol.documents import printable
from roundtrip.protocol.markers import Outcome, timestamp
from roundtrip.protocol.names import CANARY, Namer, is_canary
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.states import Names
from roundtrip.protocol.versions import Spoken
from roundtrip.roles.health import Health, Severity
from roundtrip.shares.port import Folder

log = logging.getLogger("roundtrip.roles")

CONDITION = "canary"
_FIRST = 5.0  # seconds after the start: it shows soon whether the way is open
ECHO_MAX = 4096
"""Bytes of the largest payload that B echoes."""


def is_echoed(exchange: str, pipeline: str | None) -> bool:
    """Whether B sends a request back as it is."""
    return pipeline == CANARY or is_canary(exchange)


@dataclass(slots=True)
class _Flight:
    """The canary that is under way. `sent` is None if an earlier life sent it."""

    exchange: str
    sent: float | None
    names: Names = field(default_factory=Names)
    trouble: str = ""
    is_late: bool = False


class Canary:
    """Sends canaries and judges what becomes of them, from `start` to `stop`.

    Counts: `ok` came back well, `late` were not back in time, `failed` came back otherwise.
    """

    def __init__(
        self,
        pending: Folder,
        interval: float,
        health: Health,
        wake: Callable[[str], None],
        peer: Callable[[], Spoken | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval` is in seconds; `wake` makes the agent look at an exchange soon; `peer` is
        what B's life sign says, if there is one."""
        self.interval = interval
        self._pending = pending
        self._health = health
        self._wake = wake
        self._peer = peer
        self._clock = clock
        self._namer = Namer()
        self._adopt: Callable[[str], None] = lambda exchange: None
        self._flight: _Flight | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self.ok = self.late = self.failed = 0
        self.latency: float | None = None
        self.last_success: str | None = None

    def recall(self, figures: Mapping[str, Any]) -> None:
        """Take over from an earlier life's `figures` when a canary last came back well."""
        last, latency = figures.get("last_success"), figures.get("latency")
        if isinstance(last, str):
            self.last_success = last
        if isinstance(latency, int | float):
            self.latency = float(latency)

    def figures(self) -> dict[str, Any]:
        """For status and metrics: seconds, RFC 3339, and counts since the start."""
        return {
            "last_success": self.last_success,
            "latency": self.latency,
            "ok": self.ok,
            "late": self.late,
            "failed": self.failed,
        }

    @property
    def exchange(self) -> str:
        """The canary that is under way; nothing if none is."""
        return "" if self._flight is None else self._flight.exchange

    def start(self, adopt: Callable[[str], None], pending: set[str]) -> None:
        """Begin, in a running event loop. `adopt` makes a file in pending/ an exchange.

        What an earlier life left in `pending` is under way: it is finished before another is sent.
        """
        self._adopt = adopt
        left = sorted(name for name in pending if is_canary(name))
        self._flight = _Flight(left[-1], None) if left else None
        self._arm(min(_FIRST, self.interval))

    def stop(self) -> None:
        """Send no more."""
        for waiting in (self._timer, self._sending):
            if waiting is not None:
                waiting.cancel()
        self._timer = self._sending = None

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.due)

    def due(self) -> None:
        """Time for the next: judge the last one, or send another."""
        self._arm(self.interval)
        if self._flight is not None:
            self._overdue(self._flight)
        elif self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        exchange = self._namer.canary()
        # In place: a torn one is a canary still, since its digest is taken when it is published.
        try:
            await self._pending.write(exchange, exchange.encode())
        except OSError as error:
            self._alarm(f"not sent: {self._pending.label}: {error.strerror or error}")
            return
        self._flight = _Flight(exchange, self._clock())
        self._adopt(exchange)
        self._wake(exchange)

    def _overdue(self, flight: _Flight) -> None:
        if not flight.is_late:
            flight.is_late = True
            self.late += 1
        self._tell_late(flight)
        self._wake(flight.exchange)  # Its event may be lost; and this brings the reason up to date.

    def _tell_late(self, flight: _Flight) -> None:
        last = f"the last one came back at {self.last_success}" if self.last_success else "none yet"
        self._alarm(f"not back after {self.interval:g} s: {_how_far(flight)} ({last})")

    def _alarm(self, text: str) -> None:
        self._health.report(CONDITION, f"the canary is {text}")

    def seen(self, exchange: str, names: Names, trouble: str = "") -> None:
        """How far it is: which of its names exist, and why its answer is not accepted, if so."""
        flight = self._flight
        if flight is not None and flight.exchange == exchange:
            flight.names, flight.trouble = names, trouble
            if flight.is_late:
                self._tell_late(flight)

    def lost(self, exchange: str) -> None:
        """Somebody took its file away: another may be sent."""
        if self._flight is not None and self._flight.exchange == exchange:
            self._flight = None

    def back(self, exchange: str, outcome: Outcome | None, problem: Problem | None) -> None:
        """It has come back, verified; or it ended with a problem.

        One that an earlier life sent tells nothing of how long the way takes now.
        """
        flight = self._flight
        if flight is None or flight.exchange != exchange:
            return
        self._flight = None
        if outcome is Outcome.ENRICHED:
            self._well(flight)
        elif problem is not None and self._is_unknown(problem):
            self._well(flight)
            self._notice()
        else:
            self._badly(problem)

    def _well(self, flight: _Flight) -> None:
        self.ok += 1
        self.last_success = timestamp(time.time())
        if flight.sent is not None:
            self.latency = round(self._clock() - flight.sent, 3)
        self._health.clear(CONDITION)
        log.debug("canary back", extra={"exchange": flight.exchange, "seconds": self.latency})

    def _badly(self, problem: Problem | None) -> None:
        self.failed += 1
        why = f"{problem.title}: {problem.detail}" if problem else "for no reason that is known"
        self._alarm(f"refused: {printable(why[:200])}")

    def _is_unknown(self, problem: Problem) -> bool:
        """Whether an older B took the canary for a request to a pipeline that it doesn't have."""
        peer = self._peer()
        return problem.kind == "pipeline" and (peer is None or "canary" not in peer.features)

    def _notice(self) -> None:
        peer = self._peer()
        who = "host B" if peer is None or not peer.version else f"host B ({peer.version})"
        text = f"the way is open, but {who} does not know the canary; upgrade host B"
        self._health.report(CONDITION, text, Severity.NOTICE)


def _how_far(flight: _Flight) -> str:
    names = flight.names
    if names.response_marker:
        return f"answered, not readable{': ' if flight.trouble else ''}{flight.trouble}"
    if names.request_marker:
        return "published, B has not answered"
    return "not published: the share is away, or takes no new files"
