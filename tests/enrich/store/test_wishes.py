"""How a command asks the agent to remove cached answers: files, each whole or not there."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from roundtrip.enrich.store import sqlite as module
from roundtrip.enrich.store import wishes
from roundtrip.enrich.store.sqlite import SqliteStore
from roundtrip.enrich.store.wishes import Wish
from tests.enrich.store.conftest import Clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache-purge"


@pytest.fixture
async def watching(
    sqlite: SqliteStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> SqliteStore:
    monkeypatch.setattr(module, "LOOK", 0.01)
    sqlite.watch_wishes(folder)
    return sqlite


async def result_of(path: Path) -> int:
    async with asyncio.timeout(10):
        while True:
            found = wishes.result(path)
            if found is not None:
                return found
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        (Wish(), []),
        (Wish(step="p/geo"), ["new-rates", "old-rates"]),
        (Wish(before=1_000_050.0), ["new-geo", "new-rates"]),
        (Wish(step="p/geo", before=1_000_050.0), ["new-geo", "new-rates", "old-rates"]),
        (Wish(step="p/ge"), ["new-geo", "new-rates", "old-geo", "old-rates"]),
    ],
)
async def test_what_is_wished_away_goes_and_the_rest_stays(
    watching: SqliteStore, folder: Path, clock: Clock, wish: Wish, left: list[str]
) -> None:
    for age in ("old", "new"):
        for step in ("geo", "rates"):
            watching.cache.put(f"{age}-{step}".encode(), b"x", 1e6, step=f"p/{step}")
        await watching.durable()
        clock.now += 100
    path = wishes.make(folder, wish)
    assert await result_of(path) == 4 - len(left)
    names = ["new-geo", "new-rates", "old-geo", "old-rates"]
    assert [name for name in names if watching.cache.get(name.encode())] == left
    wishes.withdraw(path)
    assert list(folder.iterdir()) == []


async def test_many_answers_go_while_others_come(watching: SqliteStore, folder: Path) -> None:
    for number in range(1_700):
        watching.cache.put(str(number).encode(), b"x", 1e6, step="p/geo")
    await watching.durable()
    path = wishes.make(folder, Wish())
    for _ in range(20):
        watching.ledger.put("one", b"k", b"answer")
        await watching.durable()
    assert await result_of(path) == 1_700


async def test_a_wish_made_before_the_agent_started_is_fulfilled(
    sqlite: SqliteStore, folder: Path
) -> None:
    sqlite.cache.put(b"k", b"x", 1e6, step="p/geo")
    await sqlite.durable()
    path = wishes.make(folder, Wish())
    sqlite.watch_wishes(folder)
    assert await result_of(path) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"step": 1}', '{"before": "x"}', "\udcff"])
async def test_what_is_no_wish_is_refused_and_nothing_goes(
    watching: SqliteStore, folder: Path, text: str
) -> None:
    watching.cache.put(b"k", b"x", 1e6, step="p/geo")
    folder.mkdir(exist_ok=True)
    path = folder / "1.json"
    (folder / "part").write_bytes(text.encode(errors="surrogateescape"))
    (folder / "part").rename(path)
    with pytest.raises(OSError):
        await result_of(path)
    assert watching.cache.get(b"k") is not None
    assert not path.exists()


async def test_a_result_that_nobody_came_for_is_removed_after_an_hour(folder: Path) -> None:
    folder.mkdir()
    for name, age in (("1.done", 4000), ("2.done", 10)):
        (folder / name).write_text(json.dumps({"removed": 1}))
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    assert wishes.pending(folder) == []
    assert [each.name for each in folder.iterdir()] == ["2.done"]


def test_only_the_owner_may_wish(folder: Path) -> None:
    wishes.make(folder, Wish())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
