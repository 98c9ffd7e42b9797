"""Who is next: payloads take turns, whatever the number of their records."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from roundtrip.enrich.settings import Rate
from tests.enrich.limits.virtual import (
    HOST,
    Script,
    calls,
    clock,
    governor,
    new_run,
    settled,
    step,
    virtually,
)


@pytest.mark.parametrize(
    "settings",
    [{"concurrency": 4}, {"concurrency": 1}, {"rate": Rate(100, 1)}, {"rate": Rate(3000, 1)}],
    ids=str,
)
@pytest.mark.parametrize("where", ["step", "host"])
def test_a_huge_file_delays_a_file_of_one_record_by_a_few_calls(
    settings: dict[str, Any], where: str
) -> None:
    async def main() -> int:
        ours = settings if where == "step" else {}
        gates = governor(**(settings if where == "host" else {}))
        gate = gates.gate("p", step(**ours), HOST)
        begun = Counter[str]()

        def attempt(name: str) -> object:
            async def call() -> None:
                begun[name] += 1
                await asyncio.sleep(0.1)

            return call

        big, small = new_run("big"), new_run("small")
        tasks = calls(gate, big, attempt("big"), 5000)
        await asyncio.sleep(0.25)
        before = begun["big"]
        assert before < 5000
        await gate.call(attempt("small"), small)  # type: ignore[arg-type]
        ends = begun["big"] - before
        for task in tasks:
            task.cancel()
        return ends

    # those that began while the small one's only call was under way count, too
    under_way = 320 if settings.get("rate") == Rate(3000, 1) else 12
    assert virtually(main) <= under_way


def test_the_small_file_is_second_at_most() -> None:
    async def main() -> list[str]:
        gate = governor().gate("p", step(concurrency=1), HOST)
        order: list[str] = []

        async def attempt() -> None:
            await asyncio.sleep(1)

        def noted(name: str) -> object:
            async def call() -> None:
                order.append(name)
                await asyncio.sleep(1)

            return call

        tasks = calls(gate, new_run("big"), noted("big"), 100)
        await settled()
        tasks += calls(gate, new_run("small"), noted("small"), 1)
        await asyncio.gather(*tasks)
        return order

    assert virtually(main).index("small") <= 2


def test_ten_files_share_a_rate_evenly_whatever_their_sizes() -> None:
    async def main() -> Counter[int]:
        gate = governor(rate=Rate(10, 1)).gate("p", step(), HOST)
        done = Counter[int]()

        def attempt(number: int) -> object:
            async def call() -> None:
                done[number] += 1

            return call

        tasks = []
        for number in range(10):
            tasks += calls(gate, new_run(str(number)), attempt(number), 20 * (number + 1))
        await asyncio.sleep(10)
        for task in tasks:
            task.cancel()
        return done

    done = virtually(main)
    assert sum(done.values()) in (100, 101)
    assert max(done.values()) - min(done.values()) <= 1


def test_a_step_that_waits_for_its_own_rate_holds_up_no_other_step_of_the_host() -> None:
    async def main() -> float:
        gates = governor(concurrency=5)
        slow = gates.gate("p", step("slow", rate=Rate(1, 10)), HOST)
        quick = gates.gate("p", step("quick"), HOST)
        waiting = calls(slow, new_run("a"), Script(), 10)
        await settled()
        began = clock()
        await asyncio.gather(*calls(quick, new_run("b"), Script(), 100))
        took = clock() - began
        for task in waiting:
            task.cancel()
        return took

    assert virtually(main) == 0


def test_a_call_that_waits_for_the_host_holds_no_slot_of_its_step() -> None:
    async def main() -> int:
        gates = governor(concurrency=1)
        shared = step("shared", concurrency=2)
        first = gates.gate("p", shared, HOST)
        tasks = calls(first, new_run(), Script(takes=1), 5)
        await settled()
        (figures,) = gates.figures()
        held = figures.in_flight
        await asyncio.gather(*tasks)
        return held

    assert virtually(main) == 1


def test_steps_of_all_pipelines_share_the_slots_of_host_and_credential() -> None:
    async def main() -> tuple[int, int]:
        gates = governor(concurrency=3)
        now = Counter[bytes]()
        most = Counter[bytes]()

        def attempt(credential: bytes) -> object:
            async def call() -> None:
                now[credential] += 1
                most[credential] = max(most[credential], now[credential])
                await asyncio.sleep(1)
                now[credential] -= 1

            return call

        tasks = []
        for pipeline in ("one", "two"):
            for credential in (b"a", b"b"):
                gate = gates.gate(pipeline, step(pipeline), HOST + ":8443", credential)
                tasks += calls(gate, new_run(), attempt(credential), 10)
        await asyncio.gather(*tasks)
        return most[b"a"], most[b"b"]

    assert virtually(main) == (3, 3)


def test_figures_tell_credentials_apart_by_number_and_show_none() -> None:
    async def main() -> list[tuple[str, int, int, int, int, str]]:
        gates = governor(concurrency=2)
        for credential in (b"secret a", b"secret b"):
            gate = gates.gate("p", step(), HOST, credential)
            calls(gate, new_run(), Script(takes=1), 3)
        gates.gate("p", step("command"))
        await settled()
        assert "secret" not in repr(gates.figures())
        return [
            (row.host, row.credential, row.in_flight, row.waiting, row.limit, row.breaker)
            for row in gates.figures()
        ]

    assert virtually(main) == [(HOST, 1, 2, 1, 2, "closed"), (HOST, 2, 2, 1, 2, "closed")]
