"""The line feed, driven by a real `nc`."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roundtrip.deliver.port import Undelivered
from roundtrip.deliver.settings import DeliverySettings, TcpSettings
from roundtrip.deliver.tcp import Feed
from tests.deliver.parcels import parcel_of

pytestmark = pytest.mark.needs("nc")


@asynccontextmanager
async def feed(**options: Any) -> AsyncIterator[Feed]:
    action = replace(TcpSettings("127.0.0.1:0"), **options)
    made = Feed(DeliverySettings("feed", action), action)
    await made.open()
    try:
        yield made
    finally:
        await made.aclose()


class Nc:
    """One `nc`, connected."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout
        self.stdin, self.stdout = process.stdin, process.stdout
        self.process = process

    def say(self, text: bytes) -> None:
        self.stdin.write(text)

    async def line(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.stdout.readline()

    async def ended(self) -> bytes:
        """What it printed until the feed closed the connection.

        Without `-N`, the end of its standard input alone ends neither `nc` nor the connection.
        """
        self.stdin.close()
        async with asyncio.timeout(10):
            rest = await self.stdout.read()
            await self.process.wait()
        return rest


@asynccontextmanager
async def nc(made: Feed, *options: str) -> AsyncIterator[Nc]:
    host, port = made.address
    before = len(made._clients)
    process = await asyncio.create_subprocess_exec(
        "nc",
        *options,
        host,
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(10):
            while len(made._clients) == before:
                await asyncio.sleep(0.005)
        yield Nc(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_each_client_gets_a_line_of_json_for_each_file(tmp_path: Path) -> None:
    async with feed() as made, nc(made) as one, nc(made) as two:
        parcel = parcel_of(tmp_path, b"content")
        await made.deliver(parcel)
        for client in (one, two):
            assert json.loads(await client.line()) == parcel.event()


async def test_what_one_client_sends_goes_to_the_others_only(tmp_path: Path) -> None:
    async with feed() as made, nc(made) as one, nc(made) as two, nc(made) as three:
        one.say(b"hello\n")
        assert await two.line() == b"hello\n"
        assert await three.line() == b"hello\n"
        two.say(b"quit\n")
        assert await two.ended() == b""
        three.say(b"bye\n")
        assert await one.line() == b"bye\n"


async def test_nothing_is_passed_on_where_relay_is_off(tmp_path: Path) -> None:
    async with feed(relay=False) as made, nc(made) as one, nc(made) as two:
        one.say(b"hello\nquit\n")
        assert await one.ended() == b""
        two.say(b"quit\n")
        assert await two.ended() == b""


@pytest.mark.parametrize("word", [b"quit\n", b"\x04", b"last words\x04not said\n"])
async def test_quit_and_end_of_transmission_close_the_connection(word: bytes) -> None:
    async with feed() as made, nc(made) as one, nc(made) as two:
        one.say(word)
        assert await one.ended() == b""
        if b"last" in word:
            assert await two.line() == b"last words\n"


async def test_a_client_gets_what_it_missed(tmp_path: Path) -> None:
    async with feed(keep=3) as made:
        said = [parcel_of(tmp_path, b"content", number) for number in range(5)]
        for parcel in said:
            await made.deliver(parcel)
        async with nc(made) as one:
            one.say(b"since " + said[3].id.encode() + b"\n")
            assert json.loads(await one.line()) == said[4].event()
            one.say(b"since the beginning\n")
            for parcel in said[2:]:
                assert json.loads(await one.line()) == parcel.event()
            one.say(b"since " + said[4].id.encode() + b"\nquit\n")
            assert await one.ended() == b""


async def test_a_client_that_ends_its_own_side_gets_what_it_asked_for_and_is_closed(
    tmp_path: Path,
) -> None:
    async with feed() as made, nc(made) as other:
        parcel = parcel_of(tmp_path, b"content")
        await made.deliver(parcel)
        async with nc(made, "-N") as one:
            one.say(b"hello\nsince the beginning\nbye")
            assert json.loads(await one.ended()) == parcel.event()
        await other.line()
        assert [await other.line(), await other.line()] == [b"hello\n", b"bye\n"]


async def gone(made: Feed, left: int = 0) -> None:
    async with asyncio.timeout(10):
        while len(made._clients) > left:
            await asyncio.sleep(0.005)


async def test_who_only_looks_whether_the_port_is_open_keeps_no_place(tmp_path: Path) -> None:
    async with feed(clients=4) as made:
        host, port = made.address
        for _ in range(6):
            probe = await asyncio.create_subprocess_exec("nc", "-z", host, str(port))
            assert await probe.wait() == 0
            await gone(made)
        async with nc(made) as one:
            await made.deliver(parcel_of(tmp_path, b"content"))
            assert json.loads(await one.line())["v"] == 1


@asynccontextmanager
async def who_ended_its_side_and_takes_nothing(tmp_path: Path) -> AsyncIterator[Feed]:
    """A feed and a client to which it has more to write than the kernel holds."""
    async with feed(buffer=8 * 1024 * 1024, keep=300) as made:
        big = replace(parcel_of(tmp_path, b""), stats={"x" * 30_000: 1})
        for _ in range(300):
            await made.deliver(big)
        with socket.create_connection(made.address) as slow:
            slow.sendall(b"since the beginning\n")
            slow.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(10):
                while not any(client.waiting for client in made._clients):
                    await asyncio.sleep(0.005)
            yield made


async def test_who_ends_its_side_and_takes_nothing_keeps_its_place_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roundtrip.deliver.tcp._GOODBYE", 0.3)
    async with who_ended_its_side_and_takes_nothing(tmp_path) as made:
        (client,) = made._clients
        await gone(made)
        assert client.waiting == 0, "nothing is kept for it"


async def test_a_feed_ends_while_a_client_that_went_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roundtrip.deliver.tcp._GOODBYE", 0.2)
    async with who_ended_its_side_and_takes_nothing(tmp_path) as made:
        async with asyncio.timeout(10):
            await made.aclose()


async def test_clients_that_are_reset_leave_nothing_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with feed(clients=64) as made:
        clients = [socket.create_connection(made.address) for _ in range(50)]
        async with asyncio.timeout(10):
            while len(made._clients) < 50:
                await asyncio.sleep(0.005)
        for client in clients:
            client.sendall(b"x\n" * 50)
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # It sends RST.
        await gone(made)
    assert caplog.records == []


async def test_who_connects_again_and_again_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with feed(clients=1) as made, nc(made):
        for _ in range(60):
            reader, writer = await asyncio.open_connection(*made.address)
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
    assert [record.message for record in caplog.records] == ["feed client dropped"] * 20


async def test_a_client_that_vanishes_is_found_out() -> None:
    async with feed() as made, nc(made):
        (client,) = made._clients
        connection = client.writer.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60


@pytest.mark.parametrize(
    "line",
    [
        b'{"v":1,"id":"fake"}',
        b' \t{"v":1}',
        b'\xef\xbb\xbf{"v":1}',
        b'1 {"v":1,"path":"/evil"}',
        b'hello\r{"v":1}',
        b'hello\xc2\x85{"v":1}',
        b'{"v":1}\xff',
        b'[] "" {"v":1}',
    ],
)
async def test_no_client_can_say_what_another_takes_for_the_agents(line: bytes) -> None:
    async with feed() as made, nc(made) as one, nc(made) as two:
        one.say(line + b"\n")
        got = await two.line()
    assert json.loads(got) == line.decode(errors="replace")
    assert got.isascii() and len(got.splitlines()) == 1


async def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with feed(buffer=64 * 1024) as made, nc(made) as quick:
        host, port = made.address
        with socket.create_connection((host, port)) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            while len(made._clients) < 2:
                await asyncio.sleep(0.005)
            big = replace(parcel_of(tmp_path, b""), stats={"x" * 30_000: 1})
            for _ in range(400):
                await made.deliver(big)
                assert json.loads(await quick.line())["v"] == 1
            assert len(made._clients) == 1
    assert "feed client dropped" in caplog.text


async def test_a_line_too_long_and_a_client_too_many_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with feed(line=100, clients=1) as made, nc(made) as one:
        host, port = made.address
        reader, writer = await asyncio.open_connection(host, port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        one.say(b"x" * 1000)
        assert await one.ended() == b""
    reasons = [record.__dict__["reason"] for record in caplog.records]
    assert reasons == ["there are 1 clients already", "it sent a line of more than 100 bytes"]


async def test_a_file_is_delivered_with_nobody_connected(tmp_path: Path) -> None:
    async with feed() as made:
        await made.deliver(parcel_of(tmp_path, b"content"))


async def test_an_address_in_use_is_a_passing_trouble() -> None:
    async with feed() as made:
        host, port = made.address
        action = TcpSettings(f"{host}:{port}")
        with pytest.raises(Undelivered, match="in use") as told:
            await Feed(DeliverySettings("feed", action), action).open()
        assert told.value.passing
        assert told.value.away
