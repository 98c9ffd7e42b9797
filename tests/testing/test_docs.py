"""The pages about the simulator: the example runs, every fault and profile is explained."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from roundtrip.errors import ExitCode
from roundtrip.testing import PROFILES, Faults
from roundtrip.testing.rules import Rules

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = (DOCS / "how-to/torture.md").read_text(encoding="utf-8")
MODEL = (DOCS / "explanation/faults.md").read_text(encoding="utf-8")


def test_the_example_for_tests_of_ones_own_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", HOW_TO, re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout == "500 seeds\n"


def test_every_fault_and_every_profile_is_explained_and_no_other() -> None:
    told = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", MODEL, re.MULTILINE)
    names = [name for row in told for name in re.findall("`([a-z_]+)`", row)]
    expected = {field.name for field in fields(Faults)} | set(PROFILES)
    assert set(names) == expected


def test_what_a_share_can_break_and_the_exit_codes_are_on_the_page() -> None:
    source = Path(sys.modules[Rules.__module__].__file__ or "").read_text(encoding="utf-8")
    broken = re.findall(r'self\.broken\["([^"]+)"\]', source)
    assert len(broken) >= 5
    for code in (ExitCode.UNFIT, ExitCode.SHARE, ExitCode.INPUT):
        assert f"{code.value} (`{code.name}`)" in HOW_TO
    missing = [text for text in broken if f"`{text}`" not in HOW_TO]
    assert missing == []
