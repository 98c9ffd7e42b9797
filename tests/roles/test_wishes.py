"""Wishes to look afresh, as B's agent reads them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from roundtrip.roles.wishes import Wishes, wish
from roundtrip.shares.posix import PosixFolder


async def test_what_is_no_wish_goes_and_what_can_not_go_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "torn.json").write_text('{"v": 1, "na')
    folder = PosixFolder(tmp_path)
    await wish(folder, "orders.csv")
    with caplog.at_level(logging.WARNING):
        assert await Wishes(folder).names() == ["orders.csv"]
    assert sorted(os.listdir(tmp_path)) == ["folder.json", "orders.csv.json"]
    assert [record.message for record in caplog.records] == ["not a wish", "not a wish"]
    folder.close()
