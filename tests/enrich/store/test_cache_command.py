"""`roundtrip cache stats|purge`, with and without an agent that holds the file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundtrip import dispatching
from roundtrip.cli import cache_purge as command
from roundtrip.cli.main import main
from roundtrip.enrich.store import sqlite as module
from roundtrip.enrich.store.sqlite import SqliteStore
from roundtrip.ledgers import PURGE
from roundtrip.shares.lock import AgentLock

CONFIG = "role: b\npipelines: {p: {steps: [{name: geo, http: {url: 'http://h/'}}]}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(CONFIG)
    (tmp_path / "state").mkdir()
    return file


@pytest.fixture
def ledger(config: Path) -> Path:
    return config.parent / "state" / "ledger.sqlite"


@pytest.fixture
def agent(config: Path) -> Iterator[None]:
    """The lock that a running agent holds."""
    lock = AgentLock(config.parent / "state" / "agent-b.lock")
    lock.acquire()
    yield
    lock.release()


async def filled(path: Path) -> SqliteStore:
    """Three answers, one of them stale, and two open exchanges."""
    store = SqliteStore(path)
    await store.open()
    store.cache.put(b"1", b"answer", 1000.0, step="p/geo")
    store.cache.put(b"2", b"answer", 0.0, step="p/geo", etag='"v"')
    store.cache.put(b"3", b"answer", 1000.0, step="p/rates")
    store.ledger.put("one", b"k", b"answer")
    store.ledger.put("one", b"l", b"answer")
    store.ledger.put_ticket("two", b"t", b"job")
    await store.durable()
    return store


def run(config: Path, *words: str) -> int:
    return main(["cache", *words, "--config", str(config)])


async def test_stats_counts_beside_a_running_agent_and_after_it(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = await filled(ledger)
    assert run(config, "stats", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["workers"] == []
    size = found["cache"]["bytes"]
    assert found["cache"] == {"entries": 3, "bytes": size, "fresh": 2, "stale": 1}
    assert list(found["steps"]) == ["p/geo", "p/rates"]
    assert found["steps"]["p/geo"]["stale"] == 1
    assert (found["exchanges"], found["answers"], found["tickets"]) == (2, 2, 1)
    assert found["disk"] > size > 0
    await store.aclose()
    assert run(config, "stats", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again | {"disk": 0} == found | {"disk": 0}


async def test_stats_for_people(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await (await filled(ledger)).aclose()
    assert run(config, "stats") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{ledger}: ") and lines[0].endswith("KiB on disk")
    assert lines[1].startswith("cached answers: 3, ")
    assert lines[1].endswith("B (2 fresh, 1 stale)")
    assert lines[2].startswith("  p/geo: 2, ") and lines[3].startswith("  p/rates: 1, ")
    assert lines[4] == "open exchanges: 2, with 2 answers and 1 jobs under way"


@pytest.mark.parametrize("words", [("stats",), ("purge", "--all")])
def test_without_a_ledger_there_is_nothing(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(config, *words) == 0
    assert "0" in capsys.readouterr().out
    assert not ledger.exists()


@pytest.mark.parametrize(
    ("words", "removed"),
    [
        (["--all"], "3 cached answers removed\n"),
        (["--step", "p/rates"], "1 cached answer removed\n"),
        (["--step", "p/other"], "0 cached answers removed\n"),
        (["--older-than", "1h"], "0 cached answers removed\n"),
        (["--older-than", "0s", "--step", "p/geo"], "2 cached answers removed\n"),
    ],
)
async def test_purge_without_an_agent_does_it_itself(
    config: Path,
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    removed: str,
) -> None:
    await (await filled(ledger)).aclose()
    assert run(config, "purge", *words) == 0
    assert capsys.readouterr().out == removed
    store = SqliteStore(ledger)
    await store.open()
    assert store.ledger.get("one", b"k") == b"answer"
    await store.aclose()


async def test_purge_has_the_running_agent_do_it(
    agent: None,
    config: Path,
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    monkeypatch.setattr("roundtrip.enrich.store.desk.purged", None)  # only the agent may
    store = await filled(ledger)
    wishes = config.parent / "state" / "cache-purge"
    store.watch_wishes(wishes)
    assert await asyncio.to_thread(run, config, "purge", "--step", "p/geo") == 0
    assert capsys.readouterr().out == "2 cached answers removed\n"
    assert (store.cache.get(b"1"), store.cache.get(b"2")) == (None, None)
    assert store.cache.get(b"3") is not None
    assert list(wishes.iterdir()) == []
    await store.aclose()


async def test_purge_goes_on_by_itself_when_the_agent_stops(
    config: Path,
    ledger: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "_SLOW", 0.0)
    await (await filled(ledger)).aclose()
    lock = AgentLock(config.parent / "state" / "agent-b.lock")
    lock.acquire()
    purging = asyncio.create_task(asyncio.to_thread(run, config, "purge", "--all"))
    wishes = config.parent / "state" / "cache-purge"
    while not (wishes.exists() and list(wishes.glob("*.json"))):
        await asyncio.sleep(0.01)
    lock.release()
    assert await purging == 0
    out, err = capsys.readouterr()
    assert out == "3 cached answers removed\n"
    assert err in ("", "waiting for the agent, running here\n")
    assert list(wishes.iterdir()) == []


@pytest.mark.parametrize("words", [["stats"], ["purge", "--all"]])
def test_role_a_is_told_where_the_cache_is(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    config.write_text("role: a\n")
    assert run(config, *words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "this is role a; answers are kept on the other host" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "say what to remove"),
        (["--all", "--step", "p/geo"], "say what to remove"),
        (["--older-than", "soon"], "'soon' is not a duration"),
    ],
)
def test_purge_must_be_told_what(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(config, "purge", *words)
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("words", [["stats"], ["purge", "--all"]])
def test_a_damaged_file_is_one_line_and_an_exit_code(
    config: Path, ledger: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    ledger.write_bytes(b"no ledger, but long enough to be one " * 200)
    assert run(config, *words) == 4
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "move it away" in err


@pytest.fixture
def workers(config: Path) -> Path:
    """The places of two workers, and of one that never had a ledger; a file that is no place."""
    folder = config.parent / "state" / "workers"
    for name in ("2", "10", "11"):
        (folder / name).mkdir(parents=True)
    (folder / "notes.txt").touch()
    return folder


async def test_stats_shows_the_ledgers_of_workers_too(
    config: Path, ledger: Path, workers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [workers / "2" / "ledger.sqlite", workers / "10" / "ledger.sqlite"]
    for file in files:
        await (await filled(file)).aclose()
    assert run(config, "stats", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["disk"]) == (str(ledger), 0)
    assert [each["file"] for each in found["workers"]] == list(map(str, files))
    assert [each["cache"]["entries"] for each in found["workers"]] == [3, 3]
    assert run(config, "stats") == 0
    shown = capsys.readouterr().out.split("\n\n")
    assert [block.partition(": ")[0] for block in shown] == list(map(str, files))
    await (await filled(ledger)).aclose()
    assert run(config, "stats") == 0
    shown = capsys.readouterr().out.split("\n\n")
    assert [block.partition(": ")[0] for block in shown] == list(map(str, [ledger, *files]))


async def test_purge_reaches_ledgers_that_are_free_and_those_that_are_in_use(
    config: Path,
    ledger: Path,
    workers: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    await (await filled(ledger)).aclose()
    await (await filled(workers / "2" / "ledger.sqlite")).aclose()
    lock = AgentLock(workers / "10" / "lock")
    lock.acquire()
    busy = await filled(workers / "10" / "ledger.sqlite")
    busy.watch_wishes(workers / "10" / "cache-purge")
    assert await asyncio.to_thread(run, config, "purge", "--step", "p/geo") == 0
    assert capsys.readouterr().out == "6 cached answers removed\n"
    assert (busy.cache.get(b"1"), busy.cache.get(b"3") is not None) == (None, True)
    assert list((workers / "10" / "cache-purge").iterdir()) == []
    await busy.aclose()
    lock.release()


async def test_a_damaged_ledger_is_told_and_the_others_are_purged(
    config: Path, ledger: Path, workers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, whole = workers / "2" / "ledger.sqlite", workers / "10" / "ledger.sqlite"
    damaged.write_bytes(b"no ledger, but long enough to be one " * 200)
    await (await filled(whole)).aclose()
    assert run(config, "purge", "--all") == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1 and str(damaged) in err
    store = SqliteStore(whole)
    await store.open()
    assert store.cache.get(b"1") is None
    await store.aclose()


def test_a_worker_that_starts_while_its_ledger_is_purged_waits_for_its_place(
    workers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another place, what its last life has paid for would be paid again."""
    (workers / "1").mkdir()
    purging = AgentLock(workers / "1" / "lock", PURGE)
    purging.acquire()
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 20:  # More than the lock's own tries.
            purging.release()

    monkeypatch.setattr("time.sleep", sleep)
    place, before = dispatching._free_place(workers)
    assert (place.path.name, before) == ("1", None)
    other, _ = dispatching._free_place(workers)
    assert other.path.name == "2", "a worker's place is not waited for"
    place.leave()
    other.leave()
