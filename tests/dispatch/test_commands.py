"""What commands say of the queue, and what they say where its package or its broker is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dispatch.world import PATIENCE, QueueWorld
from tests.e2e.api import Api
from tests.e2e.world import REPOSITORY, wait_until
from tests.e2e.world import pipelines as pipelines_of
from tests.queue.servers import Redis, free_port

needs_redis = pytest.mark.needs("redis-server")


@pytest.fixture
def api() -> Iterator[Api]:
    """The API that workers call."""
    with Api() as server:
        yield server


def findings(world: QueueWorld) -> dict[str, dict[str, Any]]:
    """What doctor finds about the queue on host B, by check."""
    report = json.loads(world.world.b.run("doctor", "--json").stdout)
    return {each["key"]: each for each in report["findings"] if each["about"] == "queue"}


@needs_redis
def test_status_and_doctor_show_the_queue_and_its_workers(
    redis: Redis, tmp_path: Path, api: Api
) -> None:
    with QueueWorld(tmp_path / "world", api.url, redis) as queue:
        before = findings(queue)
        assert before["broker"]["severity"] == "ok"
        assert before["queue-depth"]["severity"] == "notice"
        assert "No such file" in before["queue-folder"]["text"]
        queue.world.start()
        queue.worker()
        after = findings(queue)
        assert [each["severity"] for each in after.values()] == ["ok"] * 3, after
        assert not list(queue.jobs.parent.glob("workers/doctor*"))

        def shown() -> Any:
            told = json.loads(queue.world.b.run("status", "--json").stdout)["agent"]["queue"]
            return told["workers"] if told.get("dead") == 0 else None

        (worker,) = wait_until(shown, "the worker is shown", PATIENCE, 0.2)
        assert worker["concurrency"] == 8
        text = queue.world.b.run("status").stdout.decode()
        assert worker["worker"] in text
        assert "dead letters" in text


@needs_redis
def test_cache_reaches_the_ledgers_of_a_worker_at_work_and_of_a_killed_one(
    redis: Redis, tmp_path: Path, api: Api
) -> None:
    pipelines = json.loads(json.dumps(pipelines_of(api.url)))
    pipelines["items"]["steps"][0]["cache"] = "7d"
    with QueueWorld(tmp_path / "world", api.url, redis, pipelines=pipelines) as queue:
        queue.world.start()

        def ask(number: int) -> None:
            queue.world.drop(f"{number}.csv", b"key\nk1\n")
            queue.world.result(f"{number}.csv", PATIENCE)

        def cache(action: str, *words: str) -> str:
            command = [sys.executable, "-m", "roundtrip", "cache", action]
            command += ["--config", str(queue.world.b.config), *words]
            return subprocess.run(command, capture_output=True, check=True, text=True).stdout

        first = queue.worker()
        ask(0)
        first.kill()
        places = queue.world.b.folder("state/workers")
        os.rename(places / "1", places / "7")  # Else the next worker would go on with it.
        queue.worker()
        ask(1)
        assert api.calls["item:k1"] == 2, "each has paid for itself"
        ask(2)
        assert api.calls["item:k1"] == 2
        found = json.loads(cache("stats", "--json"))["workers"]
        assert [each["steps"]["items/item"]["entries"] for each in found] == [1, 1]
        assert cache("purge", "--all") == "2 cached answers removed\n"
        ask(3)
        assert api.calls["item:k1"] == 3
        queue.wait_swept()
        assert queue.defects() == []


def test_a_broker_that_is_away_stops_neither_side_and_is_told(tmp_path: Path, api: Api) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with QueueWorld(tmp_path / "world", api.url, url) as queue:
        queue.world.b.start()
        found = findings(queue)["broker"]
        assert found["severity"] == "error"
        worker = queue.worker(ready=False)
        wait_until(lambda: worker.events("broker away"), "the worker says so", PATIENCE)
        log = queue.world.b.log
        wait_until(lambda: "queue.broker" in log.read_text(), "the agent says so", PATIENCE)
        assert "secret" not in found["text"] + log.read_text() + worker.log.read_text()
        assert (worker.stop(), queue.world.b.stop()) == (0, 0)


def test_without_a_queue_in_the_configuration_there_is_nothing_to_work_on(
    tmp_path: Path, api: Api
) -> None:
    with QueueWorld(tmp_path / "world", api.url, "redis://127.0.0.1:1/0") as queue:
        settings = dict(queue.world.settings_b, dispatch="direct")
        queue.world.b.configure(settings)
        done = queue.world.b.run("worker")
        assert done.returncode == 3
        assert b"workers need 'role: b' and 'dispatch: queue'" in done.stderr


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from roundtrip.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def without(packages: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command where packages are not installed."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, packages, *arguments],
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("amqp://localhost/", "aio_pika", "amqp"), ("redis://localhost/", "redis", "redis")],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    tmp_path: Path, api: Api, url: str, package: str, extra: str
) -> None:
    with QueueWorld(tmp_path / "world", api.url, url) as queue:
        config = str(queue.world.b.config)
        for command in ("worker", "agent"):
            done = without(package, command, "--config", config)
            (line,) = done.stderr.decode().splitlines()
            assert f"pip install 'roundtrip[{extra}]'" in line
            assert done.returncode == 3


def test_direct_dispatch_needs_none_of_the_packages(tmp_path: Path, api: Api) -> None:
    with QueueWorld(tmp_path / "world", api.url, "redis://127.0.0.1:1/0") as queue:
        queue.world.b.configure(dict(queue.world.settings_b, dispatch="direct"))
        config = str(queue.world.b.config)
        done = without("aio_pika,aiormq,redis,zmq", "agent", "--once", "--config", config)
        assert done.returncode == 0, done.stderr.decode()
