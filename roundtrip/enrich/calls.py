"""Each call once: what is known, what is under way, and what is still to be made.

    stored: own memory -> ledger -> cache
    answer: stored, else a flight that is under way, else a new call (alone, or in a batch)

A flight is nobody's own: it goes on as long as anybody waits for it, whoever began it.

An answer goes into the ledger as soon as it is there; whoever publishes anything made of it waits
for `Store.durable` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from roundtrip.enrich import json_text
from roundtrip.enrich.answers import MemoryAnswers
from roundtrip.enrich.batches import Batches
from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps import Answered, Call, Step

OWN_BYTES = 32 * 1024 * 1024  # what one payload remembers of its own answers in memory

_GOOD, _BAD, _PASSING = b"=", b"!", b"?"


Flights = dict[bytes, "Flight"]


@dataclass(slots=True, eq=False)
class Landing:
    """How a call ended. `packed` is None when it says nothing to others: they try themselves."""

    value: object = None
    packed: bytes | None = None
    error: Exception | None = None


class Flight:
    """A call under way, and who waits for it; in `flights` as long as others may join."""

    __slots__ = ("_flights", "_key", "_run", "_task", "_waiting")

    def __init__(self, flights: Flights, key: bytes, run: Run) -> None:
        self._flights = flights
        self._key = key
        self._run = run
        self._waiting: list[asyncio.Future[Landing]] = []
        self._task: asyncio.Task[None]
        flights[key] = self

    def start(self, call: Coroutine[Any, Any, None]) -> None:
        """Begin; `call` ends with `land`."""
        self._task = asyncio.get_running_loop().create_task(call)

    def land(self, landing: Landing) -> None:
        """Tell all who wait."""
        self._close()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(landing)

    async def landing(self) -> Landing:
        """Wait for its end. The last one who is cancelled ends the call, and waits for that."""
        waiting: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._waiting.remove(waiting)
            if not self._waiting:
                await self._run.end(self._task, self._is_wanted)
            raise

    def _is_wanted(self) -> bool:
        if not self._waiting:
            self._close()  # nobody may join what is ended now
        return bool(self._waiting)

    def _close(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


class Calls:
    """The calls of one payload; `flights` belong to the whole process.

    Within one payload the same call is made once, also when it failed; across payloads while it is
    under way, and where the step has `cache`.
    """

    def __init__(self, pipeline: str, run: Run, flights: Flights) -> None:
        self._pipeline = pipeline
        self._run = run
        self._flights = flights
        self._own = MemoryAnswers(OWN_BYTES)
        self._batches = Batches(run)
        self._ledger = run.store.ledger
        self._resumed = self._ledger.holds(run.exchange)
        self._over = False

    def stored(self, step: Step, call: Call) -> bytes | None:
        """The packed answer if it is known, counted as saved."""
        key = call.key
        found = self._own.get(key)
        if found is None and (self._resumed or self._own.evicted):
            found = self._ledger.get(self._run.exchange, key)
        if found is None and step.settings.cache is not None:
            cached = self._run.store.cache.get(key)
            if cached and cached.fresh:
                found = cached.answer
                self._own.put(key, found)
        if found is not None:
            self._run.stats.cached += 1
        return found

    async def answer(self, step: Step, call: Call) -> object:
        """The call's answer, made or awaited or known. Raises RecordFault."""
        if step.local:
            return (await call.make(self._run)).value
        while True:
            stored = self.stored(step, call)
            if stored is not None:
                return unpacked(stored)
            if step.name in self._run.dead:
                raise self._run.dead[step.name]
            flight = self._flights.get(call.key)
            if flight is None:
                flight = Flight(self._flights, call.key, self._run)
                flight.start(self._made(step, call, flight))
                landing = await flight.landing()
                if landing.error is not None:
                    raise landing.error
                return landing.value
            landing = await flight.landing()
            if landing.packed is not None and self._own.get(call.key) is None:
                self._record(call.key, landing.packed)  # another payload's

    def close(self) -> None:
        """The payload is over, one way or another: what still comes is for others."""
        self._over = True

    async def _made(self, step: Step, call: Call, flight: Flight) -> None:
        landing = Landing()
        try:
            # before the call: what can't be written down must not be paid for
            await self._run.store.room()
            landing.value, landing.packed = await self._asked(step, call)
        except StepFault as fault:
            self._run.dead[step.name] = fault
            landing.error = fault
        except RecordFault as fault:
            kind = _BAD if fault.lasting else _PASSING
            landing.packed = kind + json_text.encode(fault.as_dict())
            landing.error = fault
        except Exception as error:
            landing.error = error
        finally:
            if landing.packed is not None and not self._over:
                self._record(call.key, landing.packed)
            flight.land(landing)

    async def _asked(self, step: Step, call: Call) -> tuple[object, bytes]:
        """The answer and its packed form, which the cache has then too if the step wants it."""
        ttl = step.settings.cache
        if ttl is None:
            answered = await self._sent(step, call, None)
            return answered.value, _GOOD + json_text.encode(answered.value)
        cache = self._run.store.cache
        stale = cache.get(call.key)
        answered = await self._sent(step, call, stale.etag if stale else None)
        if answered.unchanged and stale:
            value, packed, etag = unpacked(stale.answer), stale.answer, stale.etag
        else:
            value, etag = answered.value, answered.etag
            packed = _GOOD + json_text.encode(value)
        if answered.keep:
            cache.put(call.key, packed, ttl, step=f"{self._pipeline}/{step.name}", etag=etag)
        return value, packed

    async def _sent(self, step: Step, call: Call, etag: str | None) -> Answered:
        if step.settings.batch is not None:
            return await self._batches.answer(step, call)
        return await call.make(self._run, etag)

    def _record(self, key: bytes, packed: bytes) -> None:
        self._own.put(key, packed)
        if packed[:1] != _PASSING:
            self._ledger.put(self._run.exchange, key, packed)


def unpacked(packed: bytes) -> object:
    """The answer of a packed outcome; raises the RecordFault when that is what was packed."""
    value = json_text.decode(packed[1:])
    if packed[:1] == _GOOD:
        return value
    assert isinstance(value, dict)  # packed above
    kind = PassingFault if packed[:1] == _PASSING else RecordFault
    raise kind(value["title"], value["detail"], value.get("status"))
