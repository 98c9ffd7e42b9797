"""Watches the other side by its life signs, which lie on this host's own disk.

Whether it is silent is told by one clock, this host's. A clock that is set does no harm: after the
first look only the time between two looks counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.states import Role, other
from roundtrip.protocol.versions import PROTOCOL, Spoken, spoken_by
from roundtrip.roles.health import Health, Severity
from roundtrip.shares.heartbeat import Heartbeat, age, last_beat, skew
from roundtrip.shares.port import SharedFolder

SILENT = 3
"""After so many heartbeats' time without a sign of life the other side is silent."""
SKEWED = 60.0  # seconds that the clocks may differ before that is worth a word
_LONGEST = 86400.0  # seconds between two heartbeats that another side is believed


class PeerWatch:
    """Looks at the other side's life sign and reports what is wrong with it.

    Conditions: `peer` (silent), `protocol` (we don't understand each other), `version`, `clock`.
    """

    def __init__(
        self,
        internal: Callable[[], AbstractContextManager[SharedFolder]],
        role: Role,
        health: Health,
        *,
        version: str,
        heartbeat: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`role` is ours; `internal` opens the internal folder of the share on our own disk, which
        may be another one each time. `heartbeat` is our own pace, in seconds, and stands for the
        other side's as long as that is unknown."""
        self._internal = internal
        self._role = role
        self._peer = other(role)
        self._health = health
        self._version = version
        self._heartbeat = heartbeat
        self._clock = clock
        self._now = now
        self._seen = ""
        self._since = self._started = clock()
        self.sign: Heartbeat | None = None

    def spoken(self) -> Spoken | None:
        """What the other side says of its version; None if it was never heard."""
        return None if self.sign is None else spoken_by(self.sign.fields)

    async def look(self) -> None:
        """Look once, on the local disk; for the agent's timer.

        Raises:
            OSError, ShareError: the folder can't be read.
        """
        with self._internal() as internal:
            self.sign = await last_beat(internal, self._peer) or self.sign
        self._judge_silence(self.sign)
        if self.sign is not None:
            self._judge_clock(self.sign)
            self._judge_version(spoken_by(self.sign.fields))

    @property
    def _host(self) -> str:
        return f"host {self._peer.value.upper()}"

    def _judge_silence(self, sign: Heartbeat | None) -> None:
        if sign is not None and sign.name != self._seen:
            first = not self._seen
            self._seen = sign.name
            # Made before our first look: its file says when. Later, seeing it new says so.
            self._since = self._clock() - ((age(sign, self._now()) or 0.0) if first else 0.0)
        silent = self._clock() - self._since
        pace = self._pace(sign)
        # Where both hosts have just started, the other one gets the time to give its first sign.
        if silent <= SILENT * pace or self._clock() - self._started < pace:
            self._health.clear("peer")
            return
        since = timestamp(self._now() - silent)
        been = f"since {since}" if sign is not None else f"yet, after {silent:.0f} s"
        text = f"no sign of life of {self._host} {been}; is its agent running, and its mount there?"
        if not self._health.holds("peer"):  # The text stays: else it would change at every look.
            self._health.report("peer", text, Severity.WARNING)

    def _pace(self, sign: Heartbeat | None) -> float:
        """Seconds between two signs of the other side, as it says itself."""
        said = sign.fields.get("every") if sign is not None else None
        if isinstance(said, int | float) and 0 < said <= _LONGEST:
            return max(float(said), self._heartbeat)
        return self._heartbeat

    def _judge_clock(self, sign: Heartbeat) -> None:
        ahead = skew(sign)
        if ahead is None or abs(ahead) <= SKEWED:
            self._health.clear("clock")
        elif not self._health.holds("clock"):
            text = (
                f"the clock of {self._host} is {_spell(ahead)} ours; harmless for roundtrip, but "
                "logs and deadlines read oddly: let both hosts use NTP"
            )
            self._health.report("clock", text, Severity.WARNING)

    def _judge_version(self, peer: Spoken) -> None:
        if peer.protocol != PROTOCOL:
            older = self._host if peer.protocol < PROTOCOL else f"host {self._role.value.upper()}"
            text = (
                f"{self._host} ({peer.version or 'version unknown'}) speaks protocol "
                f"{peer.protocol}, this side ({self._version}) speaks {PROTOCOL}: upgrade {older}"
            )
            self._health.report("protocol", text)
        else:
            self._health.clear("protocol")
        if peer.version is None or peer.version == self._version:
            self._health.clear("version")
        else:
            text = (
                f"{self._host} runs roundtrip {peer.version}, this side {self._version}; they work "
                "together, what only one of them knows is left out"
            )
            if peer.protocol != PROTOCOL:
                self._health.clear("version")  # Said louder already.
            else:
                self._health.report("version", text, Severity.NOTICE)


def _spell(ahead: float) -> str:
    """A difference of two clocks in words: `3.2 s ahead of`."""
    return f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'}"


def clock_words(ahead: float) -> str:
    """How far another clock is off, in words: `clock 3.2 s ahead of ours`."""
    return f"clock {_spell(ahead)} ours"
