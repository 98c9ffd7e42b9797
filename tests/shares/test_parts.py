"""What a killed writer left in flight."""

from __future__ import annotations

import os
import time
from pathlib import Path

from roundtrip.protocol.names import part_of
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.posix import PosixFolder


async def test_in_flight_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    others = {"orders.csv", "orders.csv.done", ".roundtrip", ".orders.csv.part", "x.12345678.part"}
    for name in {*others, part_of("orders.csv"), part_of("orders.csv.done")}:
        (tmp_path / name).write_bytes(b"x")
    assert await sweep_parts(PosixFolder(tmp_path)) == 2
    assert {path.name for path in tmp_path.iterdir()} == others


async def test_in_flight_files_that_may_still_be_written_are_left_alone(tmp_path: Path) -> None:
    old, new = tmp_path / part_of("old"), tmp_path / part_of("new")
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    assert await sweep_parts(PosixFolder(tmp_path), older_than=3600) == 1
    assert list(tmp_path.iterdir()) == [new]
