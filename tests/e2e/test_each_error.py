"""A system call fails in a running agent: a selection of `scripts/chaos --each-error`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import each_error
from tests.e2e.each_step import Findings

pytestmark = [pytest.mark.needs("strace"), pytest.mark.timeout(600)]


def check(findings: Findings, least: int) -> None:
    assert sum(findings.moments.values()) >= least, f"strace should have hit: {findings.moments}"
    assert not findings.faults, "\n".join(findings.faults)


def test_each_rename_of_the_requester_may_fail(tmp_path: Path) -> None:
    found = each_error.run(
        tmp_path / "world", "a", access="direct", calls=["renameat2"], errors=["EIO"], step=3
    )
    check(found, 3)


@pytest.mark.parametrize(
    ("role", "call", "error"), [("a", "openat", "ESTALE"), ("b", "write", "ENOSPC")]
)
def test_a_call_now_and_then_may_fail(role: str, call: str, error: str, tmp_path: Path) -> None:
    found = each_error.run(
        tmp_path / "world", role, access="direct", calls=[call], errors=[error], step=7
    )
    check(found, 1)


def test_the_share_s_helper_may_be_killed_at_its_work(tmp_path: Path) -> None:
    found = each_error.run(
        tmp_path / "world", "b", access="helper",
        calls=["renameat2", "unlinkat"], errors=[each_error.KILL],
    )  # fmt: skip
    check(found, 2)
