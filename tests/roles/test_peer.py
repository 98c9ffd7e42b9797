"""The other side, watched by its life signs: silence, clocks, versions."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import Namer, ulid_of
from roundtrip.protocol.states import Role
from roundtrip.roles.health import Condition, Health, Severity
from roundtrip.roles.peer import PeerWatch
from roundtrip.shares.posix import PosixFolder

DAY = 86400.0


class Clock:
    """Time that passes, and a time of day that can be set."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.began = time.time()
        self.set_by = 0.0

    def __call__(self) -> float:
        return self.passed

    def now(self) -> float:
        return self.began + self.passed + self.set_by


class Peers:
    """Role A's watch over a B whose signs a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.health = Health()
        self.namer = Namer()
        self.watch = PeerWatch(
            lambda: closing(PosixFolder(folder)),
            Role.REQUESTER,
            self.health,
            version="1.2",
            heartbeat=10.0,
            clock=self.clock,
            now=self.clock.now,
        )

    def beat(self, *, skew: float = 0.0, **fields: Any) -> None:
        """B's sign, written now; `skew` is how far B's clock is ahead."""
        for old in self.folder.glob("alive-b-*"):
            old.unlink()
        now = self.clock.now()
        path = self.folder / f"alive-b-{ulid_of(self.namer('x'))}.json"
        path.write_text(json.dumps({"v": 1, "time": timestamp(now + skew), **fields}))
        os.utime(path, (now, now))

    async def look(self, seconds: float = 0.0) -> dict[str, Condition]:
        self.clock.passed += seconds
        await self.watch.look()
        return {found.key: found for found in self.health.conditions()}


@pytest.fixture
def peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path)


async def test_a_peer_that_gives_signs_is_nothing_to_report(peers: Peers) -> None:
    for _ in range(20):
        peers.beat(version="1.2", protocol=1)
        assert await peers.look(10.0) == {}


async def test_a_peer_silent_for_three_heartbeats_is_a_warning_until_it_is_back(
    peers: Peers,
) -> None:
    peers.beat()
    since = timestamp(peers.clock.now())
    assert await peers.look(30.0) == {}
    found = (await peers.look(1.0))["peer"]
    assert found.severity is Severity.WARNING
    assert f"no sign of life of host B since {since}" in found.text
    assert (await peers.look(500.0))["peer"] == found, "one condition, not one for each look"
    peers.beat()
    assert await peers.look() == {}


async def test_a_peer_that_never_was_is_told_after_the_same_time(peers: Peers) -> None:
    assert await peers.look(30.0) == {}
    assert "no sign of life of host B yet" in (await peers.look(1.0))["peer"].text


async def test_a_sign_left_by_a_dead_peer_does_not_look_fresh_to_a_new_life(peers: Peers) -> None:
    peers.beat()
    peers.clock.set_by = 1000.0  # The sign is old when we start.
    assert await peers.look() == {}, "it may be starting as well"
    assert "peer" in await peers.look(10.0)


async def test_a_peer_with_a_slower_pace_has_its_own_time(peers: Peers) -> None:
    peers.beat(every=60.0)
    assert await peers.look(100.0) == {}
    assert "peer" in await peers.look(100.0)


@pytest.mark.parametrize("every", [0, -5, 1e12, "often", True, None])
async def test_a_pace_that_is_none_is_not_believed(peers: Peers, every: object) -> None:
    peers.beat(every=every)
    await peers.look()
    assert "peer" in await peers.look(31.0)


@pytest.mark.parametrize("jump", [-DAY, DAY])
async def test_a_clock_of_ours_that_is_set_makes_no_peer_silent(peers: Peers, jump: float) -> None:
    peers.beat()
    await peers.look(10.0)
    peers.clock.set_by = jump
    found = await peers.look(10.0)
    assert found == {}
    assert "peer" in await peers.look(11.0), "and hides none that is"


@pytest.mark.parametrize("skew", [-DAY, DAY])
async def test_a_peer_a_day_away_is_seen_alive_and_its_clock_is_a_warning(
    peers: Peers, skew: float
) -> None:
    for _ in range(5):
        peers.beat(skew=skew)
        found = await peers.look(10.0)
    assert set(found) == {"clock"}
    assert found["clock"].severity is Severity.WARNING
    words = "ahead of" if skew > 0 else "behind"
    assert f"86400.0 s {words} ours; harmless" in found["clock"].text
    peers.beat(skew=30.0)
    assert await peers.look() == {}


@pytest.mark.parametrize(
    ("fields", "key", "severity", "text"),
    [
        (
            {"version": "1.3", "protocol": 1},
            "version",
            Severity.NOTICE,
            "host B runs roundtrip 1.3",
        ),
        ({"version": "2.0", "protocol": 2}, "protocol", Severity.ALARM, "upgrade host A"),
        ({"protocol": 2}, "protocol", Severity.ALARM, "host B (version unknown) speaks protocol 2"),
    ],
)
async def test_versions_that_differ_are_told_as_loud_as_they_matter(
    peers: Peers, fields: dict[str, Any], key: str, severity: Severity, text: str
) -> None:
    peers.beat(**fields)
    found = await peers.look()
    assert set(found) == {key}
    assert found[key].severity is severity and text in found[key].text
    peers.beat(version="1.2", protocol=1, features=["canary"])
    assert await peers.look() == {}
    spoken = peers.watch.spoken()
    assert spoken is not None and spoken.features == {"canary"}


@pytest.mark.parametrize("protocol", [0, -1, True, "2", 1.5, 1 << 40, None, [2]])
async def test_a_protocol_that_is_none_counts_as_the_first(peers: Peers, protocol: object) -> None:
    peers.beat(version="1.2", protocol=protocol, features={"canary": True})
    assert await peers.look() == {}


async def test_a_version_cannot_talk_to_a_terminal(peers: Peers) -> None:
    peers.beat(version="1.3\x1b]0;x\x07\n" + "9" * 500)
    text = (await peers.look())["version"].text
    assert text.isprintable() and len(text) < 200


async def test_a_share_that_is_away_is_left_to_those_who_watch_it(tmp_path: Path) -> None:
    peers = Peers(tmp_path)
    peers.beat()
    await peers.look()
    peers.folder.rename(tmp_path.with_name("away"))
    with pytest.raises(Exception, match="No such file"):
        await peers.look()
    assert peers.health.conditions() == []


async def test_a_disk_in_another_time_makes_no_peer_silent_that_gives_signs(peers: Peers) -> None:
    """Where a share lies on a third machine, the file's time is that machine's."""
    for _ in range(6):
        peers.clock.set_by = -DAY
        peers.beat()
        peers.clock.set_by = 0.0
        found = await peers.look(10.0)
    assert "peer" not in found
