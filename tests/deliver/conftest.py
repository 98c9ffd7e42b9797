"""Two hosts without an API: B gives back what it gets, and A delivers that further."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World

MakeWorld = Callable[..., World]

PIPELINES = {
    "invoices": {
        "match": ["*.pdf", "*.csv", "*.json"],
        "format": "raw",
        "steps": [{"name": "copy", "command": ["cat"]}],
    },
    "broken": {
        "match": ["*.bad"],
        "format": "raw",
        "steps": [{"name": "fail", "command": ["false"]}],
    },
}


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a world whose host A has these deliveries; no log may hold a traceback."""
    worlds: list[World] = []
    with ExitStack() as stack:

        def make(deliver: dict[str, Any], **settings: Any) -> World:
            folder = tmp_path / f"world{len(worlds)}"
            given = {"deliver": deliver, **settings}
            world = World(folder, "http://127.0.0.1:9", a=given, b={"pipelines": PIPELINES})
            worlds.append(world)
            return stack.enter_context(world)

        yield make
    for world in worlds:
        assert not world.defects()
