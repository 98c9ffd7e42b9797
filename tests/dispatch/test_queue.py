"""Whole exchanges through a real broker and real workers, with each part killed in the middle."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.dispatch.world import PATIENCE, QueueWorld, WorkerProcess
from tests.e2e.api import Api
from tests.e2e.world import visible, wait_until
from tests.queue.conftest import QUORUM_SETTLED
from tests.queue.servers import Redis, Server

needs_redis = pytest.mark.needs("redis-server")

Make = Callable[..., QueueWorld]

_BROKERS = [
    pytest.param("redis", marks=pytest.mark.needs("redis-server")),
    pytest.param("nats", marks=pytest.mark.needs("nats-server")),
    pytest.param("rabbit", marks=pytest.mark.needs("rabbitmq-server")),
]


@pytest.fixture
def api() -> Iterator[Api]:
    """The API that workers call."""
    with Api() as server:
        yield server


@pytest.fixture
def make(tmp_path: Path, api: Api) -> Iterator[Make]:
    """Makes pairs with a queue; no process stays, and no log has a traceback."""
    made: list[QueueWorld] = []
    with ExitStack() as stack:

        def new(broker: Server | str, **settings: Any) -> QueueWorld:
            world = QueueWorld(tmp_path / f"world{len(made)}", api.url, broker, **settings)
            made.append(world)
            return stack.enter_context(world)

        yield new
    for world in made:
        assert not world.defects()


@pytest.fixture(params=_BROKERS)
def broker(request: pytest.FixtureRequest) -> Server:
    """A real broker."""
    server: Server = request.getfixturevalue(request.param)
    return server


def csv(*keys: str) -> bytes:
    """A file with a record for each key."""
    return "\n".join(["key", *keys, ""]).encode()


def calls(api: Api, *keys: str) -> list[int]:
    """How often the API was asked for each key."""
    return [api.calls[f"item:{key}"] for key in keys]


def condition(world: QueueWorld, key: str) -> dict[str, Any] | None:
    """What the agent says of a trouble."""
    told = json.loads(world.world.b.folder("state/health-b.json").read_bytes())
    return next((each for each in told["conditions"] if each["key"] == key), None)


def test_requests_are_enriched_by_workers_and_nothing_stays(
    make: Make, broker: Server, api: Api
) -> None:
    queue = make(broker)
    queue.world.start()
    queue.worker()
    queue.worker()
    names = [f"file{number}" for number in range(30)]
    for name in names:
        queue.world.drop(f"{name}.csv", csv(name))
    large = bytes(range(256)) * 12_000  # three megabytes: through files, not through memory
    queue.world.drop("large.bin", large)
    for name in names:
        assert b"item.label" in queue.world.result(f"{name}.csv", PATIENCE)
    assert len(queue.world.result("large.bin", PATIENCE)) == len(large)
    assert calls(api, *names) == [1] * len(names)
    queue.wait_swept()
    done = [len(worker.events("job done")) for worker in queue.workers]
    assert sum(done) == 31
    assert min(done) > 0, "one worker did it all"
    assert [worker.stop() for worker in queue.workers] == [0, 0]


def worker_in_the_middle(queue: QueueWorld, api: Api) -> WorkerProcess:
    """A worker that has slow.csv and waits for the API."""
    worker = queue.worker()
    api.hold()
    queue.world.drop("slow.csv", csv("one"))
    wait_until(lambda: api.waiting == 1, "the worker calls", PATIENCE)
    return worker


def test_a_killed_worker_is_replaced_and_the_answer_comes_once(
    make: Make, broker: Server, api: Api
) -> None:
    queue = make(broker)
    queue.world.start()
    first = worker_in_the_middle(queue, api)
    second = queue.worker()
    first.kill()
    wait_until(lambda: api.calls["item:one"] == 2, "the second worker calls", PATIENCE)
    api.release()
    assert b"item.label" in queue.world.result("slow.csv", PATIENCE)
    queue.wait_swept()
    assert visible(queue.world.inbox) == ["slow.csv"]
    assert len(second.events("job done")) == 1
    assert second.events("job taken")[0]["try"] == 2


def test_a_broker_that_dies_and_comes_back_costs_nothing(
    make: Make, broker: Server, api: Api
) -> None:
    queue = make(broker)
    queue.world.start()
    queue.worker("--concurrency", "1")
    api.hold()
    queue.world.drop("taken.csv", csv("taken"))
    wait_until(lambda: api.waiting == 1, "the worker calls", PATIENCE)
    queue.world.drop("waiting.csv", csv("waiting"))
    wait_until(lambda: len(list(queue.jobs.glob("*.job"))) == 2, "both are jobs", PATIENCE)
    wait_until(lambda: condition(queue, "queue.broker") is None, "all is well")
    _settle(broker)
    broker.kill()
    wait_until(lambda: condition(queue, "queue.broker"), "the agent says so", PATIENCE)
    queue.world.drop("meanwhile.csv", csv("meanwhile"))
    api.release()
    assert b"item.label" in queue.world.result("taken.csv", PATIENCE)  # The job went on.
    broker.start()
    for name in ("waiting.csv", "meanwhile.csv"):
        assert b"item.label" in queue.world.result(name, PATIENCE)
    assert calls(api, "taken", "waiting", "meanwhile") == [1, 1, 1]
    wait_until(lambda: condition(queue, "queue.broker") is None, "all is well", PATIENCE)
    queue.wait_swept()


def _settle(broker: Server) -> None:
    """RabbitMQ 3.10 loses a quorum queue that was made a moment before it is killed."""
    import time

    if broker.url.startswith("amqp"):
        time.sleep(QUORUM_SETTLED)


@needs_redis
def test_a_killed_agent_finds_what_was_done_and_pays_for_nothing_twice(
    make: Make, redis: Redis, api: Api
) -> None:
    queue = make(redis)
    queue.world.start()
    queue.worker()
    api.hold()
    queue.world.drop("one.csv", csv("one"))
    wait_until(lambda: api.waiting == 1, "the worker calls", PATIENCE)
    queue.world.b.kill()
    api.release()
    wait_until(lambda: list(queue.results.glob("*.json")), "the worker is done", PATIENCE)
    queue.world.b.start()
    assert b"item.label" in queue.world.result("one.csv", PATIENCE)
    assert calls(api, "one") == [1]
    queue.wait_swept()


@needs_redis
def test_an_agent_that_is_stopped_leaves_its_jobs_to_the_workers(
    make: Make, redis: Redis, api: Api
) -> None:
    queue = make(redis, timing={"stop_timeout": "1s"})
    queue.world.start()
    worker = queue.worker()
    api.hold()
    queue.world.drop("one.csv", csv("one"))
    wait_until(lambda: api.waiting == 1, "the worker calls", PATIENCE)
    assert queue.world.b.stop() == 0
    assert not worker.events("job dropped")
    api.release()
    wait_until(lambda: worker.events("job done"), "the worker is done", PATIENCE)
    queue.world.b.start()
    assert b"item.label" in queue.world.result("one.csv", PATIENCE)
    assert calls(api, "one") == [1]


@needs_redis
def test_a_worker_that_is_stopped_gives_its_job_back_unharmed(
    make: Make, redis: Redis, api: Api
) -> None:
    queue = make(redis, queue={"attempts": 1}, timing={"stop_timeout": "500ms"})
    queue.world.start()
    first = queue.worker()
    api.hold()
    queue.world.drop("one.csv", csv("one"))
    wait_until(lambda: api.waiting == 1, "the worker calls", PATIENCE)
    assert first.stop() == 0
    api.release()
    second = queue.worker()
    assert b"item.label" in queue.world.result("one.csv", PATIENCE)
    assert second.events("job taken")[0]["try"] == 1


def test_a_request_that_ends_every_worker_fails_and_is_a_dead_letter(
    make: Make, broker: Server, api: Api
) -> None:
    queue = make(broker, queue={"attempts": 2})
    queue.world.start()
    api.hold()
    queue.world.drop("poison.csv", csv("poison"))
    for attempt in (1, 2):
        worker = queue.worker()
        wait_until(lambda: worker.events("job taken"), f"try {attempt}", PATIENCE)  # noqa: B023
        worker.kill()
    last = queue.worker()
    problem = queue.world.failed / "poison.csv.problem.json"
    wait_until(problem.exists, "a failed answer", PATIENCE)
    assert "2 workers ended while they had it" in problem.read_text()
    assert last.events("job buried")
    assert not last.events("job taken")

    def dead() -> bool:
        report = json.loads(queue.world.b.folder("state/health-b.json").read_bytes())
        return bool(report["queue"].get("dead") == 1)

    wait_until(dead, "one dead letter", PATIENCE)


@needs_redis
def test_a_cancelled_request_stops_its_worker(make: Make, redis: Redis, api: Api) -> None:
    queue = make(redis)
    queue.world.start()
    worker = queue.worker()
    api.hold()
    queue.world.drop("unwanted.csv", csv("one", "two"))
    wait_until(lambda: api.waiting == 2, "the worker calls", PATIENCE)
    (exchange,) = visible(queue.world.a.folder("state/pending"))
    done = queue.world.a.run("cancel", exchange)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: worker.events("job dropped"), "the worker stops", PATIENCE)
    wait_until(lambda: not visible(queue.jobs), "the job is gone", PATIENCE)
    api.release()
    queue.world.drop("next.csv", csv("three"))
    assert queue.world.result("next.csv", PATIENCE)


@needs_redis
def test_progress_of_a_worker_is_seen_on_host_a(make: Make, redis: Redis, api: Api) -> None:
    queue = make(redis)
    queue.world.start()
    queue.worker()
    api.hold()
    queue.world.drop("slow.csv", csv(*(f"key{number}" for number in range(100))))

    def shown() -> bool:
        report = json.loads(queue.world.a.run("status", "--json").stdout)
        return bool(report["progress"])

    wait_until(shown, "progress is shown", PATIENCE, 0.2)
    api.release()
    queue.world.result("slow.csv", PATIENCE)


@needs_redis
def test_a_request_that_cannot_be_enriched_says_why_as_it_does_without_a_queue(
    make: Make, redis: Redis
) -> None:
    queue = make(redis)
    queue.world.start()
    queue.worker()
    queue.world.drop("no-pipeline.xyz", b"?")
    queue.world.drop("broken.json", b"{")
    for name, words in (
        ("no-pipeline.xyz", "no pipeline fits"),
        ("broken.json", "Unreadable payload"),
    ):
        problem = queue.world.failed / f"{name}.problem.json"
        wait_until(problem.exists, name, PATIENCE)
        assert words in problem.read_text()


@pytest.mark.parametrize("broker", _BROKERS, indirect=True)
def test_a_worker_that_hangs_is_replaced_and_its_late_result_changes_nothing(
    make: Make, broker: Server, api: Api
) -> None:
    queue = make(broker)
    queue.world.start()
    first = worker_in_the_middle(queue, api)
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    try:
        second = queue.worker()
        api.release()
        assert b"item.label" in queue.world.result("slow.csv", PATIENCE)
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert second.events("job taken")[0]["try"] == 2
    assert first.stop() == 0
    queue.wait_swept()
    assert visible(queue.world.inbox) == ["slow.csv"]
