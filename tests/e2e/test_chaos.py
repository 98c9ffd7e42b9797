"""SIGKILL at random moments, and before each change on the disk: chaos.py and each_step.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e import chaos, each_step


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [7, int(time.time())])
def test_both_agents_are_killed_at_random_and_every_result_arrives_once(
    seed: int, tmp_path: Path
) -> None:
    balance, tails = chaos.run(tmp_path / "world", seed, exchanges=120, kills=40)
    print(balance.show())
    assert not balance.faults, f"{balance.show()}\n{tails}"


@pytest.mark.timeout(600)
@pytest.mark.needs("strace")
@pytest.mark.parametrize("role", ["a", "b"])
def test_an_agent_is_killed_before_each_change_on_the_disk(role: str, tmp_path: Path) -> None:
    calls = ("unlinkat", "fsync") if role == "a" else ("renameat2", "unlinkat")
    findings = each_step.run(tmp_path / "world", role, calls)
    assert sum(findings.moments.values()) > 10, "strace should have killed the agent"
    assert not findings.faults, "\n".join(findings.faults)
