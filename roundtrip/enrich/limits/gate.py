"""`Governor`: all limits of one process. `Gate`: what each call of a step passes, with retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

from roundtrip.enrich.faults import Postponed
from roundtrip.enrich.limits.bounds import Bounds, Queue
from roundtrip.enrich.limits.figures import Figures, figures
from roundtrip.enrich.limits.lane import Lane
from roundtrip.enrich.limits.patience import Postponements
from roundtrip.enrich.limits.quota import Quotas
from roundtrip.enrich.limits.share import WHOLE, Share
from roundtrip.enrich.retry import Sleep, persist
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import Breaker, HostSettings, Quota, StepSettings
from roundtrip.enrich.store.port import Counters

T = TypeVar("T")

NO_HOST = HostSettings("", breaker=Breaker(failures=0), adaptive=False)


class Governor:
    """Makes the gates, so that steps that call one host with one credential share its limits."""

    def __init__(
        self,
        hosts: Mapping[str, HostSettings],
        counters: Counters,
        *,
        sleep: Sleep = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`sleep` makes the pauses, `now` (Unix time) tells the calendar's windows."""
        self._hosts = hosts
        self._counters = counters
        self._sleep = sleep
        self._now = now
        self._lanes: dict[tuple[str, bytes], Lane] = {}
        self._local: list[Lane] = []  # those of steps that call no host
        self._share = WHOLE

    @property
    def sleep(self) -> Sleep:
        """What makes the pauses; steps that wait for anything else use it as well."""
        return self._sleep

    def gate(
        self, pipeline: str, step: StepSettings, host: str | None = None, credential: bytes = b""
    ) -> Gate:
        """The gate of a step; `host` (`name` or `name:port`) is None when it calls none.

        `credential` is a digest that tells one credential from another.
        """
        lane = self._alone() if host is None else self._lane(host.lower(), credential)
        queue = Queue(step)
        lane.join(queue)
        self._count(
            queue.bounds,
            f"step {step.name}",
            f"step {pipeline}/{step.name}",
            step.quota,
            partial(lane.leased, (queue,)),
        )
        return Gate(lane, queue, self._sleep)

    def share(self, share: Share) -> None:
        """Keep to a part of all limits from now on: other workers have the rest.

        How much of a step that calls no host runs at once is this machine's own affair. Quotas are
        not divided: they are counted together, by `Counters`.
        """
        self._share = share
        for lane in [*self._lanes.values(), *self._local]:
            lane.share(share)

    def certificate(self, host: str) -> str:
        """The file of the certificate that is shown to a host; empty: none is."""
        return self._settings(host.lower()).cert or ""

    def figures(self) -> list[Figures]:
        """What all hosts' limits are doing now, for people and for Prometheus."""
        found = []
        numbers: dict[str, int] = {}
        for lane in self._lanes.values():
            numbers[lane.host] = numbers.get(lane.host, 0) + 1
            found.append(figures(lane, numbers[lane.host]))
        return found

    def _alone(self) -> Lane:
        lane = Lane(NO_HOST, sleep=self._sleep, now=self._now)
        lane.share(self._share)
        self._local.append(lane)
        return lane

    def _lane(self, host: str, credential: bytes) -> Lane:
        settings = self._settings(host)
        lane = self._lanes.get((settings.name, credential))
        if lane is None:
            lane = Lane(settings, sleep=self._sleep, now=self._now)
            lane.share(self._share)
            self._lanes[settings.name, credential] = lane
            counter = f"host {settings.name} {credential.hex()}".rstrip()
            changed = partial(lane.leased, lane.queues)
            self._count(lane.bounds, settings.name, counter, settings.quota, changed)
        return lane

    def _settings(self, host: str) -> HostSettings:
        found = self._hosts.get(host) or self._hosts.get(_without_port(host))
        return found or HostSettings(host)

    def _count(
        self,
        bounds: Bounds,
        name: str,
        counter: str,
        quota: Quota,
        changed: Callable[[Exception | None], None],
    ) -> None:
        if quota != Quota():
            bounds.quotas = Quotas(name, counter, quota, self._counters, self._now, changed)


class Gate:
    """What each call of a step passes."""

    __slots__ = ("_lane", "_queue", "_sleep")

    def __init__(self, lane: Lane, queue: Queue, sleep: Sleep) -> None:
        self._lane = lane
        self._queue = queue
        self._sleep = sleep

    async def call(self, attempt: Callable[[], Awaitable[T]], run: Run) -> T:
        """Make the attempt in its turn, and again while it raises Transient or Postponed.

        Raises RecordFault: the attempt's own. PassingFault when patience or attempts end. OSError:
        the attempt's own, or that of the store where quotas are counted.
        """
        call = _Call(self._lane, self._queue, attempt, run, self._sleep)
        return await persist(call.tried, self._queue.settings.retry, self._sleep)


class _Call(Generic[T]):
    """One call on its way, from its first turn to its last."""

    __slots__ = ("_again", "_attempt", "_lane", "_postponements", "_queue", "_run", "_sleep")

    def __init__(
        self,
        lane: Lane,
        queue: Queue,
        attempt: Callable[[], Awaitable[T]],
        run: Run,
        sleep: Sleep,
    ) -> None:
        self._lane = lane
        self._queue = queue
        self._attempt = attempt
        self._run = run
        self._sleep = sleep
        self._again = False
        self._postponements: Postponements | None = None

    async def tried(self) -> T:
        """One attempt that isn't postponed; what it raises, or PassingFault."""
        while True:
            try:
                return await self._once()
            except Postponed as postponed:
                await self._postponed(postponed)

    async def _once(self) -> T:
        lane, queue = self._lane, self._queue
        clock = asyncio.get_running_loop().time
        probe = lane.enter(queue, clock())
        if probe is None:
            probe = await lane.turn(queue, self._run, first=self._again)
        dead = self._run.dead.get(queue.settings.name)
        if dead is not None:  # it came to that while this call waited
            lane.ended(queue, asyncio.CancelledError(), 0.0, 0, probe)
            raise dead
        self._again = True  # the next time it goes before the run's other calls
        crowd = lane.bounds.in_flight
        began = clock()
        task = asyncio.current_task()
        self._run.sent.add(task)
        try:
            answer = await self._attempt()
        except BaseException as error:
            lane.ended(queue, error, began, crowd, probe)
            raise
        finally:
            self._run.sent.discard(task)
        lane.ended(queue, None, began, crowd, probe)
        return answer

    async def _postponed(self, postponed: Postponed) -> None:
        """The lane's pause holds it back; it waits longer only when "at once" is said too often."""
        if self._postponements is None:
            self._postponements = Postponements(self._queue.settings)
        pause = self._postponements.pause(postponed)
        if pause > postponed.after:
            await self._sleep(pause)


def _without_port(host: str) -> str:
    """`name` of `name:port`; an IPv6 address stands in brackets."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
