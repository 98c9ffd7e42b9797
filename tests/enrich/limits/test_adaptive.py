"""How many calls at once: learnt from hosts that refuse, that break down, that are just full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from roundtrip.enrich.faults import PassingFault, Postponed, Transient
from roundtrip.enrich.limits import Gate, Governor
from roundtrip.enrich.limits.adaptive import Adaptive
from roundtrip.enrich.settings import Breaker, HostSettings, Retry
from roundtrip.enrich.store.memory import MemoryStore
from tests.enrich.limits.virtual import HOST, calls, clock, governor, new_run, step, virtually


@dataclass
class Simulated:
    """A server that works on `room` calls at once and refuses or queues the others."""

    room: int
    takes: float = 0.1
    refuses: bool = True
    after: float | None = None
    now: int = 0
    answered: int = 0
    refused: int = 0

    async def __call__(self) -> None:
        self.now += 1
        try:
            if self.refuses and self.now > self.room:
                await asyncio.sleep(self.takes / 10)
                self.refused += 1
                fault = PassingFault("429 Too Many Requests", "", 429)
                raise Transient(fault) if self.after is None else Postponed(fault, self.after)
            await asyncio.sleep(self.takes * max(1.0, self.now / self.room))
            self.answered += 1
        finally:
            self.now -= 1


def gate_of(gates: Governor, concurrency: int = 200) -> Gate:
    return gates.gate("p", step(concurrency=concurrency, retry=Retry(attempts=50)), HOST)


def test_a_host_that_refuses_gets_as_many_calls_as_it_bears() -> None:
    async def main(adaptive: bool) -> tuple[float, int, int]:
        server = Simulated(room=20)
        gates = governor(adaptive=adaptive)
        await asyncio.gather(*calls(gate_of(gates), new_run(), server, 3000))
        return clock(), server.refused, gates.figures()[0].limit

    took, refused, limit = virtually(lambda: main(True))
    took_without, refused_without, _ = virtually(lambda: main(False))
    assert 8 <= limit <= 30
    assert refused < 600
    assert refused < refused_without / 3
    assert took < 1.6 * 3000 * 0.1 / 20
    assert took < 1.1 * took_without


def test_one_crowd_of_refusals_is_one_cut() -> None:
    limit = Adaptive(100)
    for _ in range(80):
        limit.refused(0.0, 1.0, 100)
    assert limit.limit == 70
    limit.refused(0.9, 1.1, 70)  # made before the cut could help
    assert limit.limit == 70
    limit.refused(1.05, 1.2, 60)  # it is the crowd that was too much, not the limit
    assert limit.limit == 42


def test_a_host_that_is_slower_only_because_of_more_calls_is_not_slowed_down() -> None:
    """100 answers a second, at any number of calls: each waits for those before it."""
    limit = Adaptive(20)
    now = 0.0
    for crowd in (20, 420):
        limit.raise_most(crowd - limit.most)
        for _ in range(2000):
            now += 0.01
            limit.answered(now - 0.01 * crowd, now, crowd)
        assert limit.limit == crowd


def test_it_never_falls_below_one_call() -> None:
    limit = Adaptive(100)
    for number in range(100):
        limit.refused(float(number), number + 0.5, 1)
    assert limit.limit == 1


def test_when_the_host_has_more_room_again_it_is_used() -> None:
    async def main() -> tuple[int, int]:
        server = Simulated(room=10)
        gates = governor()
        gate = gate_of(gates)
        run = new_run()
        await asyncio.gather(*calls(gate, run, server, 1000))
        before = gates.figures()[0].limit
        server.room = 1000
        await asyncio.gather(*calls(gate, run, server, 10000))
        return before, gates.figures()[0].limit

    before, after = virtually(main)
    assert before <= 15
    assert after >= 100


def test_a_host_that_is_just_full_is_not_slowed_down() -> None:
    """Twenty at work, the rest in its queue: fewer calls at once would bring no more answers."""

    async def main() -> tuple[int, float]:
        server = Simulated(room=20, refuses=False)
        gates = governor()
        gate = gate_of(gates, 500)
        for number in (1, 5, 50, 500, 1, 500):  # each crowd is far slower than the one before
            done = 0.0
            began = clock()
            while clock() < began + 30:
                await asyncio.gather(*calls(gate, new_run(), server, number))
                done += number
        return gates.figures()[0].limit, done / (clock() - began)

    limit, speed = virtually(main)
    assert limit >= 400
    assert speed > 0.8 * 20 / 0.1


def test_a_host_that_breaks_down_gets_fewer_calls_once() -> None:
    async def main() -> tuple[int, int]:
        server = Simulated(room=1000)
        gates = governor()
        gate = gate_of(gates, 100)
        tasks = calls(gate, new_run(), server, 30_000)
        await asyncio.sleep(20)
        before = gates.figures()[0].limit
        server.takes = 2.0
        lowest = before
        for _ in range(100):
            await asyncio.sleep(0.5)
            lowest = min(lowest, gates.figures()[0].limit)
        for task in tasks:
            task.cancel()
        return before, lowest

    before, lowest = virtually(main)
    assert before == 100
    assert 65 <= lowest <= 75


def test_no_learning_where_it_is_turned_off() -> None:
    async def main() -> int:
        gates = governor(adaptive=False)
        await asyncio.gather(*calls(gate_of(gates), new_run(), Simulated(room=20), 500))
        return gates.figures()[0].limit

    assert virtually(main) == 200


# -- a real server


class Real:
    """A server on loopback that bears `room` calls at once, `takes` seconds each; and a client."""

    def __init__(self, room: int, takes: float) -> None:
        self.room = room
        self.takes = takes
        self.now = self.refused = 0
        self.url = ""
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def handle(self, request: web.Request) -> web.Response:
        self.now += 1
        try:
            if self.now > self.room:
                self.refused += 1
                return web.Response(status=429)
            if self.takes:
                await asyncio.sleep(self.takes)
            return web.Response(text="{}")
        finally:
            self.now -= 1

    async def attempt(self) -> None:
        async with self.client.get(self.url) as answer:
            await answer.read()
            if answer.status == 429:
                raise Transient(PassingFault("429 Too Many Requests", "", 429))


@asynccontextmanager
async def real(room: int, takes: float) -> AsyncIterator[Real]:
    server = Real(room, takes)
    app = web.Application()
    app.router.add_get("/", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/"
    yield server
    await server.client.close()
    await runner.cleanup()


def real_gate(adaptive: bool, concurrency: int) -> Gate:
    host = HostSettings(HOST, adaptive=adaptive, breaker=Breaker(failures=0))
    gates = Governor({HOST: host}, MemoryStore().counters)
    settings = step(concurrency=concurrency, retry=Retry(attempts=1000, max_delay=0.5))
    return gates.gate("p", settings, HOST)


async def test_a_real_server_that_refuses_is_spared() -> None:
    async def timed(adaptive: bool) -> tuple[float, int]:
        async with real(room=10, takes=0.005) as server:
            gate = real_gate(adaptive, 100)
            began = time.perf_counter()
            await asyncio.gather(*calls(gate, new_run(), server.attempt, 1000))
            return time.perf_counter() - began, server.refused

    took, refused = await timed(True)
    took_without, refused_without = await timed(False)
    print(
        f"with: {took:.2f} s, {refused} refused; without: {took_without:.2f} s, {refused_without}"
    )
    assert refused < refused_without / 2


async def test_a_fast_real_server_gets_all_calls_that_are_wanted() -> None:
    """The time it takes says nothing on a busy machine; the limit does."""
    async with real(room=10**6, takes=0) as server:
        gates = Governor({}, MemoryStore().counters)
        gate = gates.gate("p", step(concurrency=500), HOST)
        run, lowest = new_run(), 500
        for number in (1, 50, 4000):
            tasks = calls(gate, run, server.attempt, number)
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0.05)
                lowest = min(lowest, gates.figures()[0].limit)
            await asyncio.gather(*tasks)
        assert lowest >= 400
