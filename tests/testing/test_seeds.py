"""The whole protocol under every kind of fault, for as many seeds as the time allows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from roundtrip.testing import PROFILES, campaign
from roundtrip.testing.enrichment import UNEXPLAINED

SECONDS = float(os.environ.get("ROUNDTRIP_SEED_SECONDS", "1.2"))  # for each profile
SEEDS = 1000


@pytest.mark.parametrize("profile", PROFILES)
def test_everything_converges_delivered_once_and_right(profile: str) -> None:
    totals = campaign(range(SEEDS), profile, at_most=SECONDS)
    assert not totals.violations, totals.violations[0]
    assert totals.seeds >= 10
    assert not [reason for reason in totals.needless if reason.startswith(UNEXPLAINED)]
    print(f"{profile}: {totals.seeds} seeds, {totals.operations} operations")


def test_without_faults_nothing_is_enriched_twice_and_nothing_is_waited_for() -> None:
    totals = campaign(range(30), "calm")
    assert not totals.violations
    assert not totals.needless
    assert totals.calm == 0.0


def test_without_faults_an_exchange_costs_few_operations() -> None:
    totals = campaign(range(30), "calm")
    assert totals.operations / totals.exchanges < 100
    assert totals.looks / totals.exchanges < 6


def traced(seed: int, hash_seed: str) -> str:
    program = f"""
import asyncio
from roundtrip.testing.loop import virtually
from roundtrip.testing.faults import PROFILES
from roundtrip.testing.simulation import Simulation
async def main():
    simulation = Simulation({seed}, PROFILES["all"])
    await simulation.run()
    for line in simulation.world.trace_log.lines:
        print(line)
virtually(main)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    trace = traced(7, "1")
    assert len(trace.splitlines()) > 50
    assert traced(7, "2") == trace
