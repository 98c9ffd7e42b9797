"""`roundtrip worker --once`, as from cron: it ends, whatever is there and whatever is not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode
from tests.dispatch.world import PATIENCE, QueueWorld
from tests.e2e.api import Api
from tests.e2e.world import pipelines, wait_until
from tests.queue.servers import Redis, free_port

needs_redis = pytest.mark.needs("redis-server")


@pytest.fixture
def api() -> Iterator[Api]:
    """The API that workers call."""
    with Api() as server:
        yield server


def last_line(text: bytes) -> str:
    """What a person sees at the end."""
    return text.decode().splitlines()[-1]


@needs_redis
def test_it_does_what_is_there_and_ends(redis: Redis, tmp_path: Path, api: Api) -> None:
    with QueueWorld(tmp_path / "world", api.url, redis) as queue:
        queue.world.start()
        for number in range(3):
            queue.world.drop(f"{number}.csv", b"key\none\n")
        wait_until(lambda: len(list(queue.jobs.glob("*.job"))) == 3, "the jobs are there", PATIENCE)
        done = queue.world.b.run("worker", "--once")
        assert done.returncode == ExitCode.OK, done.stderr
        for number in range(3):
            assert b"item.label" in queue.world.result(f"{number}.csv", PATIENCE)


def test_it_ends_where_the_broker_is_away(tmp_path: Path, api: Api) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with QueueWorld(tmp_path / "world", api.url, url) as queue:
        queue.world.b.start()  # Which makes the folder.
        done = queue.world.b.run("worker", "--once")
        assert done.returncode == ExitCode.SHARE
        assert last_line(done.stderr).startswith(f"roundtrip: {url.replace(':secret@', '')}: ")


@needs_redis
def test_it_ends_where_the_folder_is_away(redis: Redis, tmp_path: Path, api: Api) -> None:
    with QueueWorld(tmp_path / "world", api.url, redis) as queue:
        done = queue.world.b.run("worker", "--once")
        assert done.returncode == ExitCode.SHARE
        assert str(queue.jobs.parent) in last_line(done.stderr)


@needs_redis
def test_it_ends_where_others_have_all_of_the_limits(
    redis: Redis, tmp_path: Path, api: Api
) -> None:
    alone = copy.deepcopy(pipelines(api.url))
    alone["items"]["steps"][0]["concurrency"] = 1
    with QueueWorld(tmp_path / "world", api.url, redis, pipelines=alone) as queue:
        queue.world.start()
        queue.worker()
        assert queue.world.b.run("worker", "--once").returncode == ExitCode.OK
