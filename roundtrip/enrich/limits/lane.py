"""A lane: all calls to one host with one credential, and who of them may go now.

    call --> turns of its step --> may go when all agree --> under way --> ended
                                   slots, rate, quotas of its step and of the host;
                                   no pause that the host asked for; breaker not open

One decision takes all of it at once, so nothing is held while something else is waited for.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable

from roundtrip.enrich.faults import PassingFault, Postponed
from roundtrip.enrich.limits import patience
from roundtrip.enrich.limits.adaptive import Adaptive
from roundtrip.enrich.limits.bounds import Bounds, Queue
from roundtrip.enrich.limits.breaker import CLOSED, Breaker
from roundtrip.enrich.limits.hold import Hold
from roundtrip.enrich.limits.pace import Pace
from roundtrip.enrich.limits.share import WHOLE, Share
from roundtrip.enrich.limits.weight import crowded, host_fault, spoke
from roundtrip.enrich.retry import Sleep
from roundtrip.enrich.run import Run, Wait
from roundtrip.enrich.settings import HostSettings

LONGEST = 300.0  # seconds until another look: the calendar's clock may be set meanwhile


class Lane:
    """The calls of all steps to one host with one credential; without a host, those of one step."""

    def __init__(
        self, settings: HostSettings, *, sleep: Sleep, now: Callable[[], float] = time.time
    ) -> None:
        """`now` is Unix time."""
        self.host = settings.name
        self.bounds = Bounds(
            settings.concurrency or 0, Pace(settings.rate) if settings.rate else None
        )
        self.breaker = Breaker(settings.breaker)
        self.pause = Hold(sleep, now, self.dispatch)
        self.open = Hold(sleep, now, self._half_open)
        self.queues: deque[Queue] = deque()
        self._busy = False  # somebody waits, or did a moment ago
        self._now = now
        self._settings = settings
        self._adaptive = Adaptive(self.bounds.limit)
        self._timer: asyncio.TimerHandle | None = None
        self._share = WHOLE

    def join(self, queue: Queue) -> None:
        """One more step calls here. The host bears what all its steps want, unless it says less."""
        self.queues.append(queue)
        queue.share(self._share, calls_host=bool(self.host))
        if self._settings.concurrency is None:
            self._adaptive.raise_most(queue.bounds.limit)
            self.bounds.limit = int(self._adaptive.limit)

    def share(self, share: Share) -> None:
        """Keep to a part of the limits from now on; calls under way end as they were begun."""
        self._share = share
        if self.bounds.pace is not None:
            self.bounds.pace.divide(share.of)
        for queue in self.queues:
            queue.share(share, calls_host=bool(self.host))
        whole = self._settings.concurrency
        most = sum(each.bounds.limit for each in self.queues)
        self._adaptive.set_most(most if whole is None else share.calls(whole))
        self.bounds.limit = int(self._adaptive.limit)
        if self._busy:
            self.dispatch()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(queue.turns.waiting for queue in self.queues)

    # -- in

    def enter(self, queue: Queue, now: float) -> bool | None:
        """Take a turn at once, if nobody waits and all agree: whether it is a probe; else None."""
        if self._busy or self._opens(now) > now or queue.bounds.opens(now) > now:
            return None
        return self._take(queue, now)

    async def turn(self, queue: Queue, run: Run, *, first: bool) -> bool:
        """Wait for a turn; whether it is a probe. Raises PassingFault when waiting is no use."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue.turns.add(run, waiter, first=first)
        self._busy = True
        self.dispatch()
        try:
            return await waiter
        except asyncio.CancelledError as cancelled:
            if waiter.cancelled():
                queue.turns.forget(run, waiter)
            elif waiter.exception() is None:  # the turn was given, and nobody is there to take it
                self.ended(queue, cancelled, 0.0, 0, waiter.result())
            raise

    def _take(self, queue: Queue, now: float) -> bool:
        self.bounds.take(now)
        queue.bounds.take(now)
        return self.breaker.take()

    def _opens(self, now: float) -> float:
        if self.pause.until is not None or not self.breaker.lets_through:
            return math.inf
        return self.bounds.opens(now)

    # -- out

    def ended(
        self, queue: Queue, error: BaseException | None, began: float, crowd: int, probe: bool
    ) -> None:
        """A call is over: the turn is free again, and the host is judged by how it ended."""
        self.bounds.in_flight -= 1
        queue.bounds.in_flight -= 1
        if spoke(error):
            self._judge(error, began, crowd, probe)
        else:
            self.breaker.give_back(probe)
        if self._busy:
            self.dispatch()

    def _judge(self, error: BaseException | None, began: float, crowd: int, probe: bool) -> None:
        now = asyncio.get_running_loop().time()
        if self._settings.adaptive:
            self._learn(error, began, crowd, now)
        fault = host_fault(error)
        if fault is not None:
            seconds = self.breaker.failed(probe, fault, now)
            if seconds is not None:
                self.open.start(seconds, fault)
            return
        self.breaker.succeeded(probe)  # it is there, also when it asks for a pause
        if self.open.until is not None:
            self.open.end()
        if isinstance(error, Postponed):
            self.pause.start(error.after, error.fault)
        else:
            self.pause.forget()

    def _learn(self, error: BaseException | None, began: float, crowd: int, now: float) -> None:
        if crowded(error):
            self._adaptive.refused(began, now, crowd)
        else:
            self._adaptive.answered(began, now, crowd)
        self.bounds.limit = int(self._adaptive.limit)

    def _half_open(self) -> None:
        self.breaker.half_open()
        self.dispatch()

    # -- who is next

    def dispatch(self) -> None:
        """Give turns to those that wait, as far as all limits allow; say what holds the rest."""
        now = asyncio.get_running_loop().time()
        while self._opens(now) <= now:
            queue = self._next(now)
            if queue is None:
                break
            waiter = queue.turns.take()
            if waiter is not None:
                waiter.set_result(self._take(queue, now))
        self._busy = self.waiting > 0
        if self._busy:
            self._hold_back(now)

    def _next(self, now: float) -> Queue | None:
        """The next step with room, so that steps take turns, too."""
        queues = self.queues
        for _ in range(len(queues)):
            queue = queues[0]
            queues.rotate(-1)
            if queue.turns.waiting and queue.bounds.opens(now) <= now:
                return queue
        return None

    def _hold_back(self, now: float) -> None:
        """For those that still wait: end it if it is no use, say why, and look again in time."""
        notice = self._notice()
        here = self._opens(now)
        wake = math.inf
        for queue in self.queues:
            if not queue.turns.waiting:
                continue
            reason = notice or queue.bounds.notice()
            fault = self._no_use(queue, now) if reason is not None else None
            if fault is not None:
                self._fail(queue, fault)
                continue
            queue.turns.notify(reason)
            room = max(here, queue.bounds.opens(now), now + queue.bounds.step)
            wake = min(wake, room, self._patience_ends(queue))
        if wake < math.inf:
            self._look_again(max(min(wake, now + LONGEST), now + self.bounds.step))

    def _notice(self) -> Wait | None:
        if self.pause.until is not None:
            return Wait(f"{self.host} asks to wait", self.pause.ends)
        if self.breaker.state != CLOSED:
            until = self.open.ends if self.open.until is not None else None
            return Wait(f"calls to {self.host} fail; one is tried from time to time", until)
        return self.bounds.notice()

    def _no_use(self, queue: Queue, now: float) -> PassingFault | None:
        step = queue.settings
        fault = patience.paused(step, self.host, self.pause, now)
        fault = fault or patience.broken(step, self.host, self.breaker, now)
        quota = self.bounds.notice() or queue.bounds.notice()
        if fault is None and quota is not None and quota.until is not None:
            fault = patience.spent(step, quota.reason, quota.until - self._now())
        return fault

    def _patience_ends(self, queue: Queue) -> float:
        """When the calls of a step have waited long enough for a host that doesn't answer."""
        since = self.breaker.since
        if self.breaker.lets_through or since is None:
            return math.inf
        return since + queue.settings.retry.patience

    def leased(self, queues: Iterable[Queue], failure: Exception | None) -> None:
        """Quotas have been reserved for these steps, or could not be."""
        if failure is not None:
            for queue in queues:
                self._fail(queue, failure)
        self.dispatch()

    def _fail(self, queue: Queue, error: Exception) -> None:
        for waiter in queue.turns.clear():
            waiter.set_exception(error)

    def _look_again(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        self.dispatch()
