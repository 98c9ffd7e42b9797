"""The queue's figures as Prometheus gets them: of a real broker, which is also made to hang."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Client

from roundtrip.dispatch.supervision import QueueFigures
from roundtrip.metrics import queue_metrics
from roundtrip.queue.port import Depth
from tests.dispatch.world import PATIENCE, QueueWorld
from tests.e2e.api import Api
from tests.e2e.world import wait_until
from tests.queue.servers import Redis
from tests.test_metrics import PAGE, free_address, scrape, value

Shown = dict[str, dict[str, float]]


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    """One that no other test is using: it is stopped and killed."""
    server = Redis(tmp_path / "redis", keeps=False)
    server.start()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def queue(tmp_path: Path, api: Api, broker: Redis) -> Iterator[QueueWorld]:
    metrics = {"listen": free_address()}
    with QueueWorld(tmp_path / "world", api.url, broker, metrics=metrics) as made:
        yield made
    assert not made.defects()


def shown(queue: QueueWorld) -> Shown:
    """The figures of the queue: by metric, then by state."""
    found: Shown = {}
    for name, metric in scrape(queue.world.b).items():
        if name.startswith("roundtrip_queue_"):
            about = name.removeprefix("roundtrip_queue_")
            found[about] = {each.labels.get("state", ""): each.value for each in metric.samples}
    return found


def until(queue: QueueWorld, holds: Callable[[Shown], Any], what: str) -> None:
    wait_until(lambda: holds(shown(queue)), what, PATIENCE, pause=0.1)


@pytest.mark.needs("redis-server")
def test_the_queue_is_shown_as_it_is_and_a_broker_that_hangs_delays_no_scrape(
    queue: QueueWorld, api: Api, broker: Redis
) -> None:
    queue.worker("--concurrency", "1", ready=False)  # It waits for the agent's folder.
    queue.world.start()
    api.hold()
    for number in range(3):
        queue.world.drop(f"{number}.csv", b"key\nk1\n")
    with Client.from_url(broker.url) as client:
        client.xadd(f"{queue.queue['name']}:dead", {"job": "poison"})
    messages = {"waiting": 2, "taken": 1, "dead": 1}
    until(queue, lambda found: found.get("messages") == messages, "the depth")
    found = shown(queue)
    assert found["jobs"] == {"": 1}
    assert found["workers"] == {"working": 1, "standby": 0}
    assert {f"roundtrip_queue_{name}" for name in found} == set(
        re.findall(r"^\| `(roundtrip_queue_\w+)`", PAGE.read_text(), re.MULTILINE)
    )

    assert broker._process is not None
    os.kill(broker._process.pid, signal.SIGSTOP)
    until(queue, lambda found: found["age_seconds"][""] > 6, "the figures are old")
    began = time.monotonic()
    found = shown(queue)
    assert time.monotonic() - began < 2
    assert found["messages"] == messages
    os.kill(broker._process.pid, signal.SIGCONT)
    until(queue, lambda found: found["age_seconds"][""] < 3, "the broker is asked again")

    broker.kill()
    until(queue, lambda found: "messages" not in found, "nobody knows the depth")
    metrics = scrape(queue.world.b)
    assert value(metrics, "roundtrip_condition", key="queue.broker") == 1
    assert value(metrics, "roundtrip_queue_workers", state="working") == 1
    api.release()


def samples(found: QueueFigures) -> dict[str, float]:
    return {
        f"{sample.name.removeprefix('roundtrip_queue_')} {sample.labels.get('state', '')}".strip():
        sample.value for metric in queue_metrics(found) for sample in metric.samples
    }  # fmt: skip


def test_what_a_broker_does_not_tell_is_left_out_and_what_workers_say_is_not_believed() -> None:
    workers: dict[str, dict[str, Any]] = {
        "W1": {"jobs": 2, "works": True}, "W2": {"jobs": 3, "works": False},
        "W3": {"jobs": "many", "works": "yes"}, "W4": {},
    }  # fmt: skip
    assert samples(QueueFigures(Depth(4, None, 5), workers, 1.5)) == {
        "messages waiting": 4, "messages dead": 5, "workers working": 1, "workers standby": 3,
        "jobs": 5, "age_seconds": 1.5,
    }  # fmt: skip
    assert "messages waiting" not in samples(QueueFigures(None, {}, 0.0))
    assert list(queue_metrics(None)) == []
