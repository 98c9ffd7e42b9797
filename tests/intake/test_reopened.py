"""A writer that comes back: while its file is being taken, and after it was taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.protocol.names import Namer
from roundtrip.roles.desk import Desk
from roundtrip.roles.intake import Intake, OutboxSettings
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from tests.intake.hosts import Hosts, agents, until


class Outbox(PosixFolder):
    """A real folder in which a producer does something just before a file is renamed away."""

    before_move: Callable[[str], None]

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        self.before_move(name)
        await super().move(name, to, new_name, durable=durable)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    def folder(name: str) -> PosixFolder:
        (tmp_path / name).mkdir()
        return PosixFolder(tmp_path / name)

    names = ("submit", "pending", "collected", "closing", "tickets", "outcomes", "inbox", "failed")
    return Desk(**{name: folder(name) for name in names}, archive=None)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    (tmp_path / "outbox").mkdir()
    return Outbox(tmp_path / "outbox")


@pytest.mark.parametrize("pipeline", [None, "ip-intel"])
async def test_a_file_that_is_opened_while_it_is_taken_goes_back(
    pipeline: str | None, outbox: Outbox, desk: Desk
) -> None:
    (outbox.path / "x.txt").write_bytes(b"one ")
    writers = []
    outbox.before_move = lambda name: writers.append((outbox.path / name).open("ab", buffering=0))
    intake = Intake(desk, OutboxSettings(), Namer())
    taken = await intake.take(outbox, pipeline, "x.txt")
    assert taken.exchange is None and taken.again
    assert await outbox.names() == ["x.txt"]
    assert await desk.pending.names() == await desk.tickets.names() == []

    writers[0].write(b"two")
    writers[0].close()
    outbox.before_move = lambda name: None
    taken = await intake.take(outbox, pipeline, "x.txt")
    assert taken.exchange
    assert await desk.pending.read(taken.exchange, 100) == b"one two"


async def test_it_goes_back_beside_a_new_file_of_its_name(outbox: Outbox, desk: Desk) -> None:
    (outbox.path / "x.txt").write_bytes(b"one ")
    writers = []
    outbox.before_move = lambda name: writers.append((outbox.path / name).open("ab", buffering=0))
    intake = Intake(desk, OutboxSettings(), Namer())
    move = desk.pending.is_being_written

    async def is_being_written(name: str) -> bool | None:
        (outbox.path / "x.txt").write_bytes(b"new")
        return await move(name)

    desk.pending.is_being_written = is_being_written  # type: ignore[method-assign]
    assert (await intake.take(outbox, None, "x.txt")).exchange is None
    writers[0].write(b"two")
    writers[0].close()
    contents = {path.name: path.read_bytes() for path in outbox.path.iterdir()}
    assert contents.pop("x.txt") == b"new"
    [(name, content)] = contents.items()
    assert name.startswith("x.") and name.endswith(".txt")
    assert content == b"one two"


async def test_what_grows_after_it_was_published_is_published_again(hosts: Hosts) -> None:
    """Only who has it by another name (a hard link) can write to it then."""
    (hosts.outbox / "x.txt").write_bytes(b"one ")
    (hosts.folder / "same").hardlink_to(hosts.outbox / "x.txt")
    async with agents(hosts, "a"):
        await until(lambda: list(hosts.unenriched.glob("*.done")))
        with (hosts.folder / "same").open("ab") as writer:
            writer.write(b"two")
        async with agents(hosts, "b"):
            assert await hosts.delivered("x.txt") == b"one two"
            await hosts.idle()
    assert list(hosts.results()) == ["x.txt"]
    assert hosts.log.of("answer refused")
    assert hosts.log.defects == []


async def test_a_writer_that_never_stops_is_never_taken_and_stops_nobody(working: Hosts) -> None:
    with (working.outbox / "endless.log").open("wb", buffering=0) as writer:
        for number in range(20):
            writer.write(b"more\n" * 1000)
            (working.outbox / f"{number}.txt").write_text("fine")
            await asyncio.sleep(0.02)
        await until(lambda: len(working.results()) == 20)
        assert (working.outbox / "endless.log").exists()
    assert await working.delivered("endless.log") == b"more\n" * 20_000
