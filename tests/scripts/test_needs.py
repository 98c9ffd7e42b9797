"""A test that needs what this machine lacks is skipped by hand and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TEST = """
import pytest

@pytest.mark.needs("sh", "no-such-program")
def test_with_a_missing_part(): pass

@pytest.mark.needs("sh")
def test_with_what_is_there(): pass
"""


@pytest.mark.parametrize(("ci", "summary"), [("", "1 skipped"), ("true", "1 error")])
def test_a_missing_part_skips_by_hand_and_fails_with_ci(
    tmp_path: Path, ci: str, summary: str
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(*parts): see conftest\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rsE", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1]
    assert "1 passed" in last
    assert summary in last
    assert "needs no-such-program, missing here" in done.stdout
