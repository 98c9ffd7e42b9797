"""Two hosts, initialised; and two hosts whose agents are at work."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.intake.hosts import Hosts, Log, agents, give_back


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Folders, configurations and shares; nothing runs yet."""
    log, rooms = Log(), logging.getLogger("roundtrip")
    level = rooms.level
    rooms.addHandler(log)
    rooms.setLevel(logging.INFO)
    hosts = Hosts(tmp_path, log)
    hosts.configure()
    hosts.init()
    patch = give_back()
    yield hosts
    patch.undo()
    rooms.removeHandler(log)
    rooms.setLevel(level)


@pytest.fixture
async def working(hosts: Hosts) -> AsyncIterator[Hosts]:
    """Both agents at work; at the end neither may have met a defect of its own."""
    async with agents(hosts):
        yield hosts
    assert hosts.log.defects == []
