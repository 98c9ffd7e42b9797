"""The reference has exactly the checks that exist, with their severities."""

from __future__ import annotations

import re
from pathlib import Path

from roundtrip.doctor.findings import CHECKS
from roundtrip.doctor.trials import LONGEST

PAGE = (Path(__file__).parents[2] / "docs/reference/doctor.md").read_text(encoding="utf-8")
ROOM = Path(__file__).parents[2] / "roundtrip/doctor"


def test_every_check_and_each_of_its_severities_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", PAGE, re.MULTILINE)
    documented = dict(rows)
    assert len(documented) == len(rows)
    assert documented == {key: ", ".join(found) or "ok" for key, found in CHECKS.items()}


def test_every_check_is_made_somewhere() -> None:
    sources = [file.read_text() for file in ROOM.glob("*.py") if file.name != "findings.py"]
    said = set(re.findall(r'"([a-z-]+)"', "\n".join(sources)))
    assert set(CHECKS) <= said


def test_the_longest_name_is_the_one_documented() -> None:
    assert f"names of {LONGEST} bytes" in PAGE
