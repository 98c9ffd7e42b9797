"""The soak itself, shortly: its sheet balances, and it says so when something doesn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e import soak
from tests.e2e.payloads import Sample
from tests.e2e.soak_books import Books
from tests.e2e.soak_vitals import Point, growth

CALM = Point(minute=0, files=30, sockets=4, threads=11, processes=2, rss=60.0, state=5)


@pytest.mark.timeout(600)
@pytest.mark.needs("fuse")
def test_a_short_soak_balances(tmp_path: Path) -> None:
    sheet = soak.run(tmp_path / "world", seed=1, seconds=8, points=1)
    assert not sheet.faults, sheet.show()
    balance = sheet.balance
    ends = ("delivered", "failed as they should", "cancelled")
    assert balance["sent"] == sum(balance[end] for end in ends) > 0
    assert sheet.breakages
    assert len(sheet.points["a"]) == len(sheet.points["b"]) == 1
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_the_books_tell_what_is_lost_doubled_mixed_up_or_wrong() -> None:
    books = Books()
    for number in range(5):
        name = f"{number}.raw"
        books.sent(Sample(name, b"asked", f"answer {number}".encode()), "rename")
    books.came("0.raw", b"answer 0")
    books.came("1.raw", b"answer 1")
    books.came("1.01M7ZB2BCA3BYN38B1MCYCE4FG.raw", b"answer 1")
    books.came("2.raw", b"answer 3")
    books.came("3.raw", b"nonsense")
    books.came("9.raw", b"answer 9")
    sheet = books.sheet()
    assert (sheet["sent"], sheet["delivered"], sheet["waiting (lost)"]) == (5, 4, 1)
    assert (sheet["doubled"], sheet["mixed up"], sheet["otherwise wrong"]) == (1, 1, 2)
    assert books.waiting() == ["4.raw"]


def test_what_fails_for_no_reason_is_a_fault_and_what_must_fail_is_none() -> None:
    books = Books()
    books.sent(Sample("a.json", b"{", b""), "broken", fails=True)
    books.sent(Sample("b.json", b"{}", b"{}"), "rename")
    books.failed("a.json")
    assert not books.faults
    books.failed("b.json")
    assert books.faults == ["failed for no reason: b.json"]


@pytest.mark.parametrize(
    ("last", "grown"),
    [
        ({}, []),
        ({"rss": 67.0}, []),
        ({"rss": 69.0}, ["rss grew from 60 to 69"]),
        ({"files": 33, "processes": 3}, ["files grew from 30 to 33", "processes grew from 2 to 3"]),
    ],
)
def test_growth_is_judged_by_the_rule(last: dict[str, int], grown: list[str]) -> None:
    end = replace(CALM, **last)
    warming_up = replace(CALM, rss=10.0, files=1)
    assert growth([warming_up, *[CALM] * 6, *[end] * 3]) == grown
