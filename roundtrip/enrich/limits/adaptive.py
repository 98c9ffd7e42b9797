"""How many calls a host bears at once, learnt from its answers (AIMD, as TCP does it: RFC 5681).

Slower, by a factor: when it says so (429, 503) or doesn't answer, and when calls take much longer
while fewer of them end. Faster again, step by step, while all turns are in use.
"""

from __future__ import annotations

import math

CUT = 0.7
GROWTH = 0.02  # of the limit in one round trip, at least one call
SAMPLES = 20  # answers, at least, before latency says anything
PERIOD = 1.0  # seconds, at least
SLOWER = 3.0  # times the usual latency, and
FEWER = 0.5  # of the usual answers a second: a full server is slow, an ailing one is both
DOWN, UP = 0.5, 0.05  # how fast what is usual follows what is better, and what is worse


class Adaptive:
    """The limit of one host and credential, between 1 and `most`."""

    __slots__ = (
        "_answers", "_began", "_busy", "_cut_at", "_latency", "_usual", "_usual_speed",
        "limit", "most",
    )  # fmt: skip

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self._cut_at = -math.inf
        self._usual = 0.0  # seconds; 0: not known yet
        self._usual_speed = 0.0  # answers a second
        self._restart(-math.inf)

    def raise_most(self, calls: int) -> None:
        """There is one more step on this host."""
        self.most += calls
        self.limit += calls

    def set_most(self, calls: int) -> None:
        """The most is another now, and what was learnt is a part of it."""
        if calls != self.most:
            self.limit = max(1.0, self.limit * calls / self.most) if self.most else float(calls)
            self.most = calls

    def refused(self, began: float, now: float, crowd: int) -> None:
        """The host has too much; `crowd` calls were under way when this one began."""
        if began >= self._cut_at:  # else it was made before the last cut could help: one round trip
            self._cut(min(self.limit, crowd), now)

    def answered(self, began: float, now: float, crowd: int) -> None:
        """An answer came."""
        limit = self.limit
        full = crowd >= limit - 1
        if full and limit < self.most:
            self.limit = min(self.most, limit + max(1 / limit, GROWTH))
        if crowd == 1 and limit >= 2:
            self._restart(now)  # after a time without calls
            return
        self._answers += 1
        self._latency += now - began
        self._busy += full
        if self._answers >= SAMPLES and now - self._began >= PERIOD:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Compare a period with what is usual."""
        latency = self._latency / self._answers
        speed = self._answers / (now - self._began)
        if self._busy * 2 < self._answers or math.isinf(self._began):
            # nobody asked for more, or nobody knows since when: says nothing of the host
            self._restart(now)
            return
        if not self._usual:
            self._usual, self._usual_speed = latency, speed
        elif latency > SLOWER * self._usual and speed < FEWER * self._usual_speed:
            # once: when this is how it is from now on, fewer calls would only be slower still
            self._usual, self._usual_speed = latency, speed
            self._cut(self.limit, now)
            return
        self._usual += (latency - self._usual) * (DOWN if latency < self._usual else UP)
        faster = speed > self._usual_speed
        self._usual_speed += (speed - self._usual_speed) * (DOWN if faster else UP)
        self._restart(now)

    def _cut(self, limit: float, now: float) -> None:
        self.limit = max(1.0, limit * CUT)
        self._cut_at = now
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._began = now
        self._answers = 0
        self._latency = 0.0
        self._busy = 0
