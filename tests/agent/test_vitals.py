"""The health file of an agent that ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from roundtrip.agent.shares import SharePair
from roundtrip.agent.vitals import Vitals, VitalsSettings
from roundtrip.protocol.states import Role
from roundtrip.roles.health import Health
from roundtrip.shares.posix import PosixFolder


async def test_what_is_known_when_the_agent_ends_is_written_and_nothing_after_that(
    tmp_path: Path,
) -> None:
    state, health = PosixFolder(tmp_path), Health()
    settings = VitalsSettings(Role.REQUESTER, "1", "health.json")
    shares = cast(SharePair, None)  # They are for the life sign only.
    vitals = Vitals(shares, state, health, settings, lambda: {"pending": 0, "done": 0}, dict)
    vitals.start()
    health.report("dead.tell", "3 are dead")
    await vitals.stop()
    health.report("peer", "away")
    (condition,) = json.loads((tmp_path / "health.json").read_text())["conditions"]
    assert condition["key"] == "dead.tell"
