"""What commands say of progress."""

from __future__ import annotations

from typing import Any

import pytest

from roundtrip.cli.words import duration, local_time, printable, progress_words

ITEM: dict[str, Any] = {"done": 0.426, "records": 0, "waiting": None, "rate": None, "left": None}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "43%"),
        ({"records": 12345}, "43%, 12,345 records"),
        ({"records": 12, "rate": 1234.5, "left": 61.4}, "43%, 12 records, 1,234.5/s, 0:01:01 left"),
        ({"left": 0.2}, "43%, 0:00:00 left"),
        ({"left": 90061.0}, "43%, 1 day, 1:01:01 left"),
        ({"waiting": {"reason": "a host's pause", "until": None}}, "43%, waits: a host's pause"),
        ({"left": 5.0, "waiting": {"reason": "r", "until": "soon"}}, "43%, waits: r"),
        ({"waiting": {"reason": "r\x1b[2J\n", "until": None}}, "43%, waits: r\ufffd[2J\ufffd"),
    ],
)
def test_progress_is_said_in_a_few_words(more: dict[str, Any], words: str) -> None:
    assert progress_words(ITEM | more) == words


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        (None, None),
        ("soon", None),
        ("2026-11-22T00:00:00.000Z", "2026-11-22 09:00:00"),
        ("9999-12-31T23:59:59.000Z", None),
    ],
)
def test_a_moment_is_told_in_this_host_s_time_zone(
    moment: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert local_time(moment) == told
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_endless_time_can_be_said() -> None:
    assert duration(1e300).startswith("115740 days")


def test_a_name_can_t_talk_to_a_terminal() -> None:
    assert printable("a\x1b]0;b\x07\u202ec.csv") == "a\ufffd]0;b\ufffd\ufffdc.csv"
