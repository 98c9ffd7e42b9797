"""Each call once: what one payload already knows, what is under way, and what is still to be made.

The seam for the ledger: an answer passes through `Answers.put` before it counts.
"""

from __future__ import annotations

import asyncio

from roundtrip.enrich import json_text
from roundtrip.enrich.answers import Answers
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.results import Stats
from roundtrip.enrich.steps import Call, Step

Flights = dict[bytes, "asyncio.Future[bytes | None]"]  # None: abandoned, another may try

_GOOD, _BAD = b"=", b"!"


class Calls:
    """The calls of one payload. `shared` answers and `flights` belong to the whole process.

    Within one payload the same call is made once, also when it failed, as far back as `own` can
    remember; across payloads while it is under way, and where the step has `cache`.
    """

    def __init__(self, own: Answers, shared: Answers, flights: Flights, stats: Stats) -> None:
        self._own = own
        self._shared = shared
        self._flights = flights
        self._stats = stats

    def stored(self, step: Step, call: Call) -> bytes | None:
        """The packed answer if it is known, counted as saved."""
        found = self._own.get(call.key)
        if found is None and step.cache is not None:
            found = self._shared.get(call.key)
        if found is not None:
            self._stats.cached += 1
        return found

    async def answer(self, step: Step, call: Call) -> object:
        """The call's answer, made or awaited or known. Raises RecordFault."""
        while True:
            stored = self.stored(step, call)
            if stored is not None:
                return unpacked(stored)
            flight = self._flights.get(call.key)
            if flight is None:
                return await self._made(step, call)
            # shielded: a payload that is withdrawn must not end a call that others wait for
            outcome = await asyncio.shield(flight)
            if outcome is not None:
                self._stats.cached += 1
                return unpacked(outcome)

    async def _made(self, step: Step, call: Call) -> object:
        flight = asyncio.get_running_loop().create_future()
        self._flights[call.key] = flight
        packed = None
        try:
            value = await call.make(self._stats)
            packed = _GOOD + json_text.encode(value)
            await self._keep(step, call.key, packed)
            return value
        except RecordFault as fault:
            packed = _BAD + json_text.encode(fault.as_dict())
            await self._own.put(call.key, packed, None)
            raise
        finally:
            del self._flights[call.key]
            flight.set_result(packed)

    async def _keep(self, step: Step, key: bytes, packed: bytes) -> None:
        if step.cache is None:
            await self._own.put(key, packed, None)
        else:
            await self._shared.put(key, packed, step.cache)


def unpacked(packed: bytes) -> object:
    """The answer of a packed outcome; raises the RecordFault when that is what was packed."""
    value = json_text.decode(packed[1:])
    if packed[:1] == _GOOD:
        return value
    assert isinstance(value, dict)  # packed above
    raise RecordFault(value["title"], value["detail"], value.get("status"))
