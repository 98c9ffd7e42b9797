"""The folder of jobs: what agent and workers promise each other there, on a real file system."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path

import pytest

from roundtrip.dispatch.folder import JobFolder, Torn
from roundtrip.dispatch.job import Job, Result, Trouble, Unreadable, exchange_of
from roundtrip.dispatch.quota import SharedCounters
from roundtrip.dispatch.roll import LATE, LifeSign, Roll
from roundtrip.dispatch.room import FolderAway, Room
from roundtrip.protocol.markers import Digest, RequestMarker

EXCHANGE = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"
PAYLOAD = b"key\none\n"
WHO = {"id": "W", "host": "h"}


def job_of(payload: bytes = PAYLOAD, **more: str) -> Job:
    """A job with this payload."""
    import hashlib

    digest = Digest(len(payload), hashlib.sha256(payload).hexdigest())
    return Job.of(RequestMarker(EXCHANGE, "orders.csv", **more), digest)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The queue's folder."""
    return tmp_path / "queue"


@pytest.fixture
async def folder(path: Path) -> JobFolder:
    """The folder as the agent has made it."""
    room = Room(path)
    await room.do(room.make)
    return JobFolder(room)


async def added(folder: JobFolder, payload: bytes = PAYLOAD) -> Job:
    """A job that is there."""
    job = job_of(payload)
    await folder.add(job, io.BytesIO(payload))
    return job


def test_a_jobs_name_says_its_exchange_and_differs_with_what_is_asked() -> None:
    job = job_of()
    assert exchange_of(job.name) == EXCHANGE
    others = {job_of(b"key\ntwo\n").name, job_of(pipeline="other").name, job.name}
    assert len(others) == 3
    assert Job.decode(job.encode()) == job


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"v": 2}', b'{"v": 1, "exchange": 3}'])
def test_a_record_that_is_none_is_refused(record: bytes) -> None:
    for kind in (Job, Result):
        with pytest.raises(Unreadable):
            kind.decode(record)


async def test_a_job_comes_out_as_it_went_in(folder: JobFolder) -> None:
    job = await added(folder)
    look = await folder.look(job.name)
    assert (look.job, look.tries, look.answered) == (job, 0, False)
    sink = io.BytesIO()
    await folder.fetch(job, sink)
    assert sink.getvalue() == PAYLOAD


async def test_a_payload_that_changes_while_it_is_copied_is_no_job(folder: JobFolder) -> None:
    job = job_of()
    with pytest.raises(Torn):
        await folder.add(job, io.BytesIO(b"key\nsomething else\n"))
    assert (await folder.look(job.name)).job is None
    await folder.add(job, io.BytesIO(PAYLOAD))
    assert (await folder.look(job.name)).job == job


async def test_of_many_who_want_a_job_one_gets_it(folder: JobFolder) -> None:
    job = await added(folder)
    claims = [folder.claim(job.name, 1, f"worker-{number}") for number in range(20)]
    won = await asyncio.gather(*claims)
    assert won.count(True) == 1
    look = await folder.look(job.name)
    assert (look.tries, look.holder) == (1, f"worker-{won.index(True)}")


async def test_a_job_that_is_given_back_is_none_the_worse(folder: JobFolder) -> None:
    job = await added(folder)
    assert await folder.claim(job.name, 1, "one")
    await folder.give_back(job.name, 1)
    assert (await folder.look(job.name)).tries == 0
    assert await folder.claim(job.name, 1, "one")
    assert await folder.claim(job.name, 2, "two")
    await folder.give_back(job.name, 1)  # One was taken for dead, and isn't the last any more.
    assert (await folder.look(job.name)).holder == "two"


async def test_the_first_result_counts(folder: JobFolder) -> None:
    job = await added(folder)
    for outcome, expected in (("enriched", True), ("partial", False)):
        file, digest = await folder.store(job.name, io.BytesIO(outcome.encode()))
        result = Result(job.name, WHO, "now", outcome, {"records": 1}, "p", file, digest)
        assert await folder.answer(result) is expected
    found = await folder.result(job.name)
    assert found is not None and found.outcome == "enriched"
    sink = io.BytesIO()
    await folder.collect(found, sink)
    assert sink.getvalue() == b"enriched"
    assert len(list((folder.room.path / "results").iterdir())) == 2, "a payload stayed behind"


async def test_a_trouble_is_a_result_too(folder: JobFolder) -> None:
    job = await added(folder)
    trouble = Trouble("payload", "Program failed", "exit code 3", 422, {"exit_code": 3})
    await folder.answer(Result(job.name, WHO, "now", trouble=trouble))
    found = await folder.result(job.name)
    assert found is not None and found.trouble == trouble


async def test_a_result_that_was_changed_is_not_believed(folder: JobFolder) -> None:
    job = await added(folder)
    file, digest = await folder.store(job.name, io.BytesIO(b"good"))
    result = Result(job.name, WHO, "now", "enriched", {}, "p", file, digest)
    (folder.room.path / "results" / file).write_bytes(b"evil")
    with pytest.raises(Torn):
        await folder.collect(result, io.BytesIO())
    elsewhere = Result(job.name, WHO, "now", "enriched", {}, "p", "../queue.json", digest)
    with pytest.raises(Torn):
        await folder.collect(elsewhere, io.BytesIO())


async def test_removing_an_exchange_leaves_nothing_of_it_and_nothing_else_goes(
    folder: JobFolder,
) -> None:
    job = await added(folder)
    await folder.claim(job.name, 1, "one")
    file, digest = await folder.store(job.name, io.BytesIO(b"x"))
    await folder.answer(Result(job.name, WHO, "now", "enriched", {}, "p", file, digest))
    other = Job(EXCHANGE + "x", "other", job.digest)
    await folder.add(other, io.BytesIO(PAYLOAD))
    assert (await folder.listing()).exchanges() == {EXCHANGE, EXCHANGE + "x"}
    await folder.remove({EXCHANGE})
    listing = await folder.listing()
    assert listing.names == {other.name} == listing.asked
    assert await folder.is_wanted({job.name, other.name}) == {other.name}


async def test_an_unmounted_folder_is_no_empty_queue(folder: JobFolder, path: Path) -> None:
    job = await added(folder)
    elsewhere = path.with_name("unmounted")
    path.rename(elsewhere)
    with pytest.raises(FolderAway):
        await folder.look(job.name)
    for name in ("jobs", "results"):
        (path / name).mkdir(parents=True)
    with pytest.raises(FolderAway, match="is it mounted"):
        await folder.look(job.name)
    with pytest.raises(FolderAway):
        await folder.answer(Result(job.name, WHO, "now"))
    shutil.rmtree(path)
    elsewhere.rename(path)
    assert (await folder.look(job.name)).job == job


async def test_another_queues_folder_at_the_same_place_is_noticed(
    folder: JobFolder, path: Path
) -> None:
    job = await added(folder)
    await folder.look(job.name)
    shutil.rmtree(path)
    other = Room(path)
    await other.do(other.make)
    with pytest.raises(FolderAway, match="another folder"):
        await folder.look(job.name)


async def test_a_folder_that_hangs_is_told_of(path: Path) -> None:
    import threading

    room = Room(path, patience=0.05)
    ended = threading.Event()
    with pytest.raises(FolderAway, match="no answer"):
        await room.do(lambda: ended.wait(10))
    ended.set()


# -- life signs


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_worker_lives_as_long_as_its_sign_changes(folder: JobFolder) -> None:
    clock = Clock()
    roll = Roll(folder.room, 1.0, clock)
    ulids = [f"01ARZ3NDEKTSV4RRFFQ69G5FA{letter}" for letter in "AB"]
    signs = {ulid: LifeSign(folder.room, ulid) for ulid in ulids}
    for ulid, sign in signs.items():
        await sign.give({"host": ulid})
    await roll.read()
    assert roll.alive() == ulids
    assert roll.told[ulids[0]] == {"host": ulids[0]}
    for _ in range(LATE + 1):
        clock.now += 1.0
        await signs[ulids[1]].give({})
        await roll.look()
    assert roll.alive() == [ulids[1]]
    assert not await roll.is_alive(ulids[0])
    await roll.clear()
    assert len(list((folder.room.path / "workers").iterdir())) == 1


async def test_clearing_spares_a_worker_that_nobody_has_seen_yet(folder: JobFolder) -> None:
    roll = Roll(folder.room, 1.0)
    await roll.read()
    await LifeSign(folder.room, "01ARZ3NDEKTSV4RRFFQ69G5FAC").give({})
    await roll.clear()
    assert len(list((folder.room.path / "workers").iterdir())) == 1


async def test_a_worker_that_just_came_is_looked_for(folder: JobFolder) -> None:
    roll = Roll(folder.room, 1.0)
    await roll.look()
    ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAC"
    sign = LifeSign(folder.room, ulid)
    await sign.give({})
    assert await roll.is_alive(ulid)
    await sign.end()
    await roll.look()
    assert not await roll.is_alive(ulid)


# -- quotas


async def test_workers_that_reserve_at_the_same_time_never_get_the_same_calls(
    folder: JobFolder, path: Path
) -> None:
    workers = [SharedCounters(Room(path)) for _ in range(4)]
    window = "2026-11-21"
    totals = await asyncio.gather(
        *(worker.reserve("host x", window, 7) for worker in workers for _ in range(10))
    )
    assert sorted(totals) == [7 * count for count in range(1, 41)]
    fresh = SharedCounters(Room(path))
    assert await fresh.reserve("host x", window, 5) == 285
    assert await fresh.reserve("host y", window, 5) == 5
    assert fresh.spent("host x", window) == 285


async def test_windows_that_are_over_are_forgotten(folder: JobFolder, path: Path) -> None:
    counters = SharedCounters(folder.room)
    for window in ("2026-11-21T10:05", "2026-11-21", "2026-11-21T10:06", "2026-11-21T10:07"):
        assert await counters.reserve("host x", window, 1) == 1
    left = sorted(name.name.split(".")[1] for name in (path / "quota").iterdir())
    assert left == ["2026-11-21", "2026-11-21T1007"]
    assert counters.spent("host x", "2026-11-21") == 1
