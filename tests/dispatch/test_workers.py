"""Agent's desk and workers in one process, over a broker in memory that can be cut off."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from roundtrip.dispatch.desk import Desk
from roundtrip.dispatch.folder import JobFolder
from roundtrip.dispatch.job import addressed
from roundtrip.dispatch.room import Room
from roundtrip.dispatch.work import Workbench
from roundtrip.dispatch.worker import Worker
from roundtrip.enrich import PayloadFault, Withdrawn
from roundtrip.enrich.results import Progress, Result, Stats
from roundtrip.errors import PipelineError
from roundtrip.protocol.markers import RequestMarker
from roundtrip.protocol.names import Namer
from roundtrip.queue.memory import MemoryBroker, MemoryServer
from roundtrip.roles.enrichment import Answer
from roundtrip.roles.health import Health
from roundtrip.watch import WatchSettings

BEAT = 0.25
SOON = 20.0
EXCHANGE = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"


class Engine:
    """Stands for the enricher of a worker: turns text into capitals once it may."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.may = asyncio.Event()
        self.may.set()
        self.fault: Exception | None = None
        self.remembered: set[str] = set()

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...

    def share(self, share: object) -> None: ...

    def choose(self, original_name: str, wanted: str | None) -> Any:
        return type("Pipeline", (), {"name": wanted or "p"})

    def forget(self, scope: str) -> None:
        self.remembered.discard(scope)

    def open_scopes(self) -> set[str]:
        return set(self.remembered)

    async def run(
        self,
        pipeline: Any,
        name: str,
        source: BinaryIO,
        sink: BinaryIO,
        *,
        exchange: str,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Result:
        self.runs.append(exchange)
        self.remembered.add(exchange)
        report(Progress(0.5, Stats(records=7)))
        while not self.may.is_set():
            if cancelled():
                raise Withdrawn
            with suppress(TimeoutError):
                await asyncio.wait_for(self.may.wait(), BEAT)
        if self.fault is not None:
            raise self.fault
        source.seek(0)
        sink.write(source.read().upper())
        return Result("enriched", Stats(records=1, ok=1))


class Ground:
    """A queue's folder, a broker, a desk and workers; `close` ends them all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = MemoryServer()
        self.health = Health()
        self.desk: Desk
        self.engines: list[Engine] = []
        self._running: dict[Worker, asyncio.Task[None]] = {}
        self.reported: list[Progress] = []

    async def open_desk(self) -> None:
        self.desk = Desk(
            JobFolder(Room(self.path)),
            MemoryBroker(self.server),
            self.health,
            beat=BEAT,
            watching=WatchSettings("inotify", 1.0),
        )
        await self.desk.open()

    def worker(self, engine: Engine | None = None, *, attempts: int = 3) -> Worker:
        engine = engine or Engine()
        self.engines.append(engine)
        folder = JobFolder(Room(self.path))
        name = Namer()("worker")[:26]
        made = Worker(
            name,
            folder,
            MemoryBroker(self.server),
            engine,  # type: ignore[arg-type]
            Workbench(folder, engine, self.path.parent, {"id": name, "host": "h"}),  # type: ignore[arg-type]
            concurrency=4,
            attempts=attempts,
            beat=BEAT,
            places=100,
            patience=0.2,
            whoami={"host": "h"},
        )
        self._running[made] = asyncio.create_task(made.run())
        return made

    async def ask(
        self, content: bytes = b"text", *, cancelled: Callable[[], bool] = lambda: False
    ) -> tuple[Answer, bytes]:
        sink = io.BytesIO()
        request = RequestMarker(EXCHANGE, "orders.csv", pipeline="p")
        answer = await asyncio.wait_for(
            self.desk(request, io.BytesIO(content), sink, cancelled, self.reported.append), SOON
        )
        return answer, sink.getvalue()

    async def close(self) -> None:
        for worker, task in self._running.items():
            worker.stop()
            await asyncio.wait_for(task, SOON)
        await self.desk.aclose()


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    """A desk that is open; workers come when they are made."""
    made = Ground(tmp_path / "queue")
    await made.open_desk()
    yield made
    await made.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(SOON):
        while not holds():
            await asyncio.sleep(0.01)


def jobs(ground: Ground) -> list[str]:
    """What lies in the folder about jobs and results."""
    rooms = (ground.path / "jobs", ground.path / "results")
    return sorted(path.name for room in rooms for path in room.iterdir())


async def test_a_request_comes_back_enriched_and_forgetting_it_leaves_nothing(
    ground: Ground,
) -> None:
    ground.worker()
    answer, content = await ground.ask()
    assert (answer.outcome, answer.pipeline, content) == ("enriched", "p", b"TEXT")
    assert answer.stats["ok"] == 1
    assert ground.desk.open_scopes() == {EXCHANGE}
    ground.desk.forget(EXCHANGE)
    await until(lambda: not jobs(ground))
    await until(lambda: not ground.engines[0].remembered)
    assert ground.desk.open_scopes() == set()


async def test_the_same_request_again_finds_its_result_and_another_one_does_not(
    ground: Ground,
) -> None:
    ground.worker()
    await ground.ask()
    await ground.ask()
    assert len(ground.engines[0].runs) == 1
    assert (await ground.ask(b"other"))[1] == b"OTHER"
    assert len(ground.engines[0].runs) == 2


async def test_an_asked_for_request_that_is_forgotten_is_done_anew(ground: Ground) -> None:
    ground.worker()
    await ground.ask()
    ground.desk.forget(EXCHANGE)
    assert (await ground.ask())[1] == b"TEXT"  # Not swept away with what was forgotten.
    assert len(ground.engines[0].runs) == 2


async def test_doubles_of_a_message_are_only_acknowledged(ground: Ground) -> None:
    engine, other = Engine(), Engine()
    engine.may.clear()
    busy = ground.worker(engine)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: engine.runs)
    busy._broker._most = 1  # type: ignore[attr-defined]  # Doubles go to the other one.
    ground.worker(other)
    agent = MemoryBroker(ground.server)
    await agent.connect()
    message = addressed(await ground.desk._folder.room.identity(), engine.runs[0])

    async def doubles_go(but: int) -> None:
        for _ in range(5):
            await agent.publish(message)
        async with asyncio.timeout(SOON / 4):
            while sum((await agent.depth())[:2]) > but:  # type: ignore[arg-type]
                await asyncio.sleep(0.01)

    await doubles_go(1)  # All but the one that is being worked on.
    engine.may.set()
    assert (await asking)[1] == b"TEXT"
    await doubles_go(0)
    assert (len(engine.runs), len(other.runs)) == (1, 0)


async def test_a_broker_that_loses_its_queue_loses_no_request(ground: Ground) -> None:
    asking = asyncio.create_task(ground.ask())
    await until(lambda: ground.server.waiting)
    ground.server.cut_off(lose=True)
    await until(lambda: ground.health.holds("queue.broker"))
    ground.server.come_back()
    ground.worker()
    assert (await asking)[1] == b"TEXT"
    assert not ground.health.holds("queue.broker")


async def test_a_queue_that_somebody_empties_is_filled_again(ground: Ground) -> None:
    asking = asyncio.create_task(ground.ask())
    await until(lambda: ground.server.waiting)
    ground.server.waiting.clear()
    ground.worker()
    assert (await asking)[1] == b"TEXT"


async def test_a_job_goes_on_while_the_broker_is_away(ground: Ground) -> None:
    engine = Engine()
    engine.may.clear()
    ground.worker(engine)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: engine.runs)
    ground.server.cut_off()
    engine.may.set()
    assert (await asking)[1] == b"TEXT"  # Told by the folder's own event.
    ground.server.come_back()
    await until(lambda: not ground.server.waiting and ground.server.clients)
    assert len(engine.runs) == 1


async def test_a_job_that_is_taken_during_a_look_is_not_taken_for_unwanted(
    ground: Ground,
) -> None:
    engine = Engine()
    engine.may.clear()
    worker = ground.worker(engine)
    folder, looking = worker._folder, asyncio.Event()
    look = folder.is_wanted

    async def slowly(names: set[str]) -> set[str]:
        looking.set()
        found = await look(names)
        await until(lambda: engine.runs)
        return found

    folder.is_wanted = slowly  # type: ignore[method-assign]
    await until(looking.is_set)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: engine.runs)
    await asyncio.sleep(3 * BEAT)  # Time enough to be dropped.
    engine.may.set()
    assert (await asking)[1] == b"TEXT"
    assert len(engine.runs) == 1


async def test_a_message_of_somebody_else_is_a_dead_letter(ground: Ground) -> None:
    ground.worker()
    agent = MemoryBroker(ground.server)
    await agent.connect()
    await agent.publish("hello")
    await until(lambda: ground.server.dead == ["hello"])
    assert (await ground.ask())[1] == b"TEXT"


async def test_how_far_a_job_is_reaches_the_agent(ground: Ground) -> None:
    engine = Engine()
    engine.may.clear()
    ground.worker(engine)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: ground.reported)
    assert ground.reported[0].done == 0.5
    assert ground.reported[0].stats.records == 7
    engine.may.set()
    await asking


async def test_a_request_that_is_withdrawn_ends_its_job_once_the_exchange_is_over(
    ground: Ground,
) -> None:
    engine = Engine()
    engine.may.clear()
    ground.worker(engine)
    withdrawn = asyncio.Event()
    asking = asyncio.create_task(ground.ask(cancelled=withdrawn.is_set))
    await until(lambda: engine.runs)
    withdrawn.set()
    with pytest.raises(Withdrawn):
        await asking
    assert engine.remembered  # An agent that only stops takes nothing away.
    ground.desk.forget(EXCHANGE)
    await until(lambda: not engine.remembered)
    assert not jobs(ground)


@pytest.mark.parametrize(
    ("fault", "raised", "words"),
    [
        (PayloadFault("Unreadable", "line 1", status=422), PayloadFault, "Unreadable: line 1"),
        (PipelineError("no pipeline fits"), PipelineError, "no pipeline fits"),
        (ZeroDivisionError("secret"), PayloadFault, "Enrichment broke down: ZeroDivisionError"),
    ],
)
async def test_what_goes_wrong_at_a_worker_is_raised_at_the_agent(
    ground: Ground, fault: Exception, raised: type[Exception], words: str
) -> None:
    engine = Engine()
    engine.fault = fault
    ground.worker(engine)
    with pytest.raises(raised, match=words) as caught:
        await ground.ask()
    assert "secret" not in str(caught.value)


async def test_a_trouble_of_the_workers_own_is_tried_again_and_harms_no_job(
    ground: Ground,
) -> None:
    engine = Engine()
    engine.fault = OSError("no space on the worker's disk")
    ground.worker(engine, attempts=1)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: len(engine.runs) > 2)
    engine.fault = None
    assert (await asking)[1] == b"TEXT"


async def test_a_result_that_does_not_match_its_record_is_made_again(ground: Ground) -> None:
    ground.worker()
    await ground.ask()
    (payload,) = [path for path in (ground.path / "results").iterdir() if path.suffix != ".json"]
    payload.write_bytes(b"torn")
    with pytest.raises(OSError, match="unusable"):
        await ground.ask()
    assert (await ground.ask())[1] == b"TEXT"


async def test_an_unmounted_folder_costs_no_message_and_no_job(ground: Ground) -> None:
    engine = Engine()
    engine.may.clear()
    ground.worker(engine)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: engine.runs)
    away = ground.path.with_name("away")
    ground.path.rename(away)
    ground.path.mkdir()  # The empty mount point.
    engine.may.set()
    await until(lambda: ground.health.holds("queue.folder"))
    assert not list(ground.path.iterdir())
    shutil.rmtree(ground.path)
    away.rename(ground.path)
    assert (await asking)[1] == b"TEXT"
    await until(lambda: not ground.health.holds("queue.folder"))


async def test_a_worker_with_another_queues_folder_does_nothing_to_its_messages(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Ground(ground.path.with_name("other"))
    elsewhere.server = ground.server
    room = Room(elsewhere.path)
    await room.do(room.make)
    elsewhere.worker()
    asking = asyncio.create_task(ground.ask())
    await until(lambda: "job put back" in caplog.messages)
    assert not asking.done()
    ground.worker()
    assert (await asking)[1] == b"TEXT"
    for worker, task in elsewhere._running.items():
        worker.stop()
        await task


async def test_the_next_life_of_the_agent_finds_what_was_done_meanwhile(ground: Ground) -> None:
    engine = Engine()
    engine.may.clear()
    ground.worker(engine)
    asking = asyncio.create_task(ground.ask())
    await until(lambda: engine.runs)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await ground.desk.aclose()
    engine.may.set()
    await until(lambda: list((ground.path / "results").glob("*.json")))
    await ground.open_desk()
    assert ground.desk.open_scopes() == {EXCHANGE}
    assert (await ground.ask())[1] == b"TEXT"
    assert len(engine.runs) == 1


async def test_nobody_at_work_is_a_condition(ground: Ground) -> None:
    await until(lambda: ground.health.holds("queue.workers"))
    ground.worker()
    await until(lambda: not ground.health.holds("queue.workers"))
    await until(lambda: ground.desk.details()["queue"].get("waiting") == 0)
    (worker,) = ground.desk.details()["queue"]["workers"]
    assert worker["host"] == "h"
