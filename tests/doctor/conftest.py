"""Hosts for doctor to look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.doctor.hosts import Hosts


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of two initialised hosts, to be copied."""
    hosts = Hosts(tmp_path_factory.mktemp("hosts"))
    hosts.init()
    return hosts.folder


@pytest.fixture
def hosts(initialised: Path, tmp_path: Path) -> Hosts:
    """Two initialised hosts without agents."""
    shutil.copytree(initialised, tmp_path, dirs_exist_ok=True)
    return Hosts(tmp_path)
