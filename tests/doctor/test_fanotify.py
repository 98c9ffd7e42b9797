"""What doctor says of fanotify, as a table, and on this very host."""

from __future__ import annotations

import os

import pytest

from roundtrip.doctor import fanotify, machine

LIMITS = {"max_user_groups": 128, "max_user_marks": 205039, "max_queued_events": 16384}


@pytest.mark.parametrize(
    ("folders", "filesystems", "wanted", "severity", "says"),
    [
        (None, None, True, "ok", "folders and, as this user, whole file systems (128 groups"),
        (None, "not you", True, "ok", "fanotify can watch folders (128 groups, 205,039 marks"),
        ("too old", "too old", False, "ok", "no fanotify here: too old"),
        ("too old", "too old", True, "notice", "too old; inotify is used instead"),
    ],
)
def test_fanotify_is_judged_by_whether_it_is_wanted(
    folders: str | None, filesystems: str | None, wanted: bool, severity: str, says: str
) -> None:
    facts = {"folders": folders, "filesystems": filesystems, **LIMITS}
    verdict = fanotify.verdict(facts, wanted=wanted)
    assert verdict.severity == severity and says in verdict.text


def test_limits_that_can_not_be_read_are_left_out() -> None:
    facts = {"folders": None, "filesystems": None, **dict.fromkeys(LIMITS)}
    assert fanotify.verdict(facts, wanted=False).text.endswith("whole file systems")


def test_this_host_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    findings, facts = machine.look(machine.Need("a", backend="fanotify"))
    (found,) = [each for each in findings if each.key == "fanotify"]
    assert found.about == "host" and "fanotify" in found.text
    if os.geteuid() == 0 and facts["fanotify"]["folders"] is None:
        assert "whole file systems" in found.text
