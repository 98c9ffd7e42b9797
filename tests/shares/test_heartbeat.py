"""Life signs: each a new name, the older ones removed, anything else in the folder left alone."""

from __future__ import annotations

import json
import time

import pytest

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import Namer, is_internal
from roundtrip.protocol.states import Role
from roundtrip.protocol.versions import FEATURES, PROTOCOL, Spoken, own, spoken_by
from roundtrip.shares.heartbeat import Heartbeat, age, beat, last_beat, skew
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from tests.shares.conftest import Adapter

A, B = Role.REQUESTER, Role.RESPONDER
EARLY = "alive-a-01ARZ3NDEKTSV4RRFFQ69G5FAV.json"
LATE = "alive-a-7ZZZZZZZZZZZZZZZZZZZZZZZZZ.json"
FIELDS = {"time": "2026-11-21T10:00:00.000Z", "version": "1.0"}


@pytest.fixture
def namer() -> Namer:
    times = iter(range(1, 1000))
    return Namer(clock=lambda: next(times))


async def test_a_renewal_is_a_new_name_and_the_older_ones_go(
    adapter: Adapter, namer: Namer
) -> None:
    seen = set()
    for number in range(3):
        await beat(adapter.folder, A, namer, FIELDS | {"pending": number})
        (name,) = adapter.there()
        assert name.startswith("alive-a-") and name.endswith(".json") and not is_internal(name)
        seen.add(name)
    assert len(seen) == 3
    sign = await last_beat(adapter.folder, A)
    assert sign is not None
    assert sign.time == FIELDS["time"]
    assert sign.fields == {"v": 1, **own(), **FIELDS, "role": "a", "pending": 2}


async def test_each_role_has_its_own(folder: Folder, namer: Namer) -> None:
    await beat(folder, A, namer, FIELDS)
    assert await last_beat(folder, B) is None
    await beat(folder, B, namer, FIELDS | {"version": "2.0"})
    await beat(folder, A, namer, FIELDS)
    sign = await last_beat(folder, B)
    assert sign is not None and sign.fields["version"] == "2.0"


async def test_an_older_sign_goes_even_if_the_clock_was_set_back(
    adapter: Adapter, namer: Namer
) -> None:
    await adapter.folder.put(LATE, json.dumps(FIELDS).encode())
    await beat(adapter.folder, A, namer, FIELDS)
    assert len(adapter.there()) == 1
    assert LATE not in adapter.there()


async def test_of_several_signs_the_one_written_last_counts_whatever_its_writers_clock_says(
    folder: Folder,
) -> None:
    await folder.put(LATE, json.dumps(FIELDS | {"version": "first"}).encode())
    await folder.put(EARLY, json.dumps(FIELDS | {"version": "second"}).encode())
    sign = await last_beat(folder, A)
    assert sign is not None and sign.fields["version"] == "second"


async def test_a_sign_says_which_protocol_its_writer_speaks_and_what_it_can_do(
    folder: Folder, namer: Namer
) -> None:
    await beat(folder, A, namer, FIELDS)
    sign = await last_beat(folder, A)
    assert sign is not None
    assert spoken_by(sign.fields) == Spoken("1.0", PROTOCOL, frozenset(FEATURES))


@pytest.mark.parametrize("seconds", [-86400.0, -3.2, 0.0, 3.2, 86400.0])
async def test_the_skew_is_the_writers_clock_against_the_readers_disk(
    real: PosixFolder, namer: Namer, seconds: float
) -> None:
    before = time.time()
    await beat(real, A, namer, {"time": timestamp(time.time() + seconds)})
    sign = await last_beat(real, A)
    assert sign is not None
    assert skew(sign) == pytest.approx(seconds, abs=1.0)
    found = age(sign, time.time())
    assert found is not None and 0 <= found <= time.time() - before + 1.0


@pytest.mark.parametrize("said", ["", "soon", "2026-11-21T10:00:00"])
def test_a_sign_without_a_usable_time_has_no_skew(said: str) -> None:
    assert skew(Heartbeat(said, {}, 1.0)) is None
    assert skew(Heartbeat("2026-11-21T10:00:00Z", {})) is None


def test_no_sign_is_younger_than_now() -> None:
    assert age(Heartbeat("", {}, 100.0), now=40.0) == 0.0


JUNK = {
    "share.json": b"{}",
    "agent-a.lock": b"",
    "alive-c-01ARZ3NDEKTSV4RRFFQ69G5FAV.json": b"{}",
    "alive-a-01ARZ3NDEKTSV4RRFFQ69G5FAV.json.done": b"{}",
    "alive-a-1.json": b"{}",
    "alive-a-.json": b"{}",
    f".{LATE}.0a1b2c3d.part": b"{}",
}


async def test_what_is_no_life_sign_is_neither_read_nor_removed(
    adapter: Adapter, namer: Namer
) -> None:
    for name in JUNK:
        await adapter.folder.put(name, json.dumps(FIELDS).encode())
    assert await last_beat(adapter.folder, A) is None
    await beat(adapter.folder, A, namer, FIELDS)
    assert set(JUNK) < adapter.there()
    assert len(adapter.there()) == len(JUNK) + 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"\xff", b"[" * 20_000, b"{}", b'{"time": 7}', b" " * 70_000],
    ids=lambda content: repr(content[:20]),
)
async def test_a_sign_that_cannot_be_read_is_passed_over(folder: Folder, content: bytes) -> None:
    await folder.put(LATE, content)
    assert await last_beat(folder, A) is None
    await folder.put(EARLY, json.dumps(FIELDS).encode())
    sign = await last_beat(folder, A)
    assert sign is not None and sign.time == FIELDS["time"]


async def test_a_folder_in_a_signs_place_is_passed_over(real: PosixFolder) -> None:
    (real.path / LATE).mkdir()
    await real.put(EARLY, json.dumps(FIELDS).encode())
    assert await last_beat(real, A) is not None
