"""Worlds for tests: two hosts and an API, ended and judged however the test went."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.world import World

MakeWorld = Callable[..., World]
_WORLDS = pytest.StashKey[list[World]]()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server


@pytest.fixture
def make_world(tmp_path: Path, api: Api, request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    """Makes worlds; afterwards their processes are ended, and no log may hold a traceback."""
    worlds = request.node.stash.setdefault(_WORLDS, [])
    with ExitStack() as stack:

        def make(**settings: dict[str, Any]) -> World:
            world = World(tmp_path / f"world{len(worlds)}", api.url, **settings)
            worlds.append(world)
            return stack.enter_context(world)

        yield make
    for world in worlds:
        assert not world.defects()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with default settings, no agent started yet."""
    return make_world()


@pytest.fixture
def running(world: World) -> World:
    """The same with both agents at work."""
    world.start()
    return world


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the agents' last words where a test has failed."""
    report = yield
    if report.failed:
        for world in item.stash.get(_WORLDS, []):
            report.sections.append(("agents' logs", world.log_tails()))
    return report
