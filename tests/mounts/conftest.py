"""Worlds whose shares are mounted, and a last look for mounts that a test has left."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.world import World

TIMING = {
    "heartbeat": "300ms",
    "rescan": "5s",
    "share_timeout": "500ms",
    "stop_timeout": "2s",
}
"""Short, so that what takes its time in real life is soon over."""

MakeMounted = Callable[..., Any]
_WORLDS = pytest.StashKey[list[World]]()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server


@pytest.fixture
def make_mounted(tmp_path: Path, api: Api, request: pytest.FixtureRequest) -> Iterator[MakeMounted]:
    """Makes mounted worlds, both agents at work; afterwards no log may hold a traceback."""
    from tests.mounts.world import MountedWorld  # Needs a library that not everybody has.

    worlds = request.node.stash.setdefault(_WORLDS, [])
    with ExitStack() as stack:

        def make(**timing: str) -> MountedWorld:
            settings = {"timing": {**TIMING, **timing}}
            world = MountedWorld(
                tmp_path / f"world{len(worlds)}", api.url, a=settings, b=dict(settings)
            )
            worlds.append(world)
            stack.enter_context(world)
            world.start()
            return world

        yield make
    for world in worlds:
        assert not world.defects()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def world(make_mounted: MakeMounted) -> Any:
    """A mounted world at work."""
    return make_mounted()


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
